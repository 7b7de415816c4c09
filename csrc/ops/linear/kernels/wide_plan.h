#pragma once

#include <algorithm>
#include <cstdint>

// How the products of a batch are cut up: for kernels whose tiles have some rows of the weight and
// all rows of the batch. They pay where a product is short, so that what is between kernels and the
// operators around it cost as much as the product: one round of blocks does it.
namespace stagegate::wide {

inline constexpr int kLeastRows = 17;  // fewer are for the narrow kernels
inline constexpr int kMostRows = 64;
inline constexpr int kStageDepth = 64;  // columns of the weight that are multiplied at a time
inline constexpr int kMostNormedDepth = 8192;
inline constexpr int kMostSplits = 8;  // blocks of a cluster

// Rows of the weight in a tile, 64 for each warpgroup that multiplies. Few leave little to join
// where the depth is split; many read the batch less often.
inline constexpr int kAddedGroups = 1;
inline constexpr int kHeadsGroups = 2;
inline constexpr int kFewGatedGroups = 2;
inline constexpr int kManyGatedGroups = 3;

// Rows of the batch that a tile has room for.
constexpr int columns_of(std::int64_t rows) { return rows <= 32 ? 32 : 64; }

constexpr int tiles_of(std::int64_t width, int groups) {
  return static_cast<int>((width + 64 * groups - 1) / (64 * groups));
}

// How many blocks could share the depth of a tile, one on every multiprocessor.
constexpr int room_of(std::int64_t width, int groups, int multiprocessors) {
  return std::min(multiprocessors / tiles_of(width, groups), kMostSplits);
}

// How many do. None has less than a stage.
constexpr int splits_of(std::int64_t width, std::int64_t depth, int groups, int multiprocessors) {
  const auto stages = static_cast<int>((depth + kStageDepth - 1) / kStageDepth);
  return std::clamp(room_of(width, groups, multiprocessors), 1, stages);
}

// The groups of a tile of gate and up, of `width` rows together; 0 where one round of blocks does
// not do it.
constexpr int gated_groups_of(std::int64_t width, int multiprocessors) {
  if (tiles_of(width, kFewGatedGroups) <= multiprocessors) return kFewGatedGroups;
  return tiles_of(width, kManyGatedGroups) <= multiprocessors ? kManyGatedGroups : 0;
}

}  // namespace stagegate::wide

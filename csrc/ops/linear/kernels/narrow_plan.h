#pragma once

#include <cstdint>

// How the products of few rows are cut up: for kernels that read a weight once, at the speed of
// memory. A block of eight warps reads it in boxes of 16 rows by 64 columns; each warp keeps some
// on the way in a ring of its own in shared memory.
namespace stagegate::narrow {

inline constexpr int kWarps = 8;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kMostRows = 16;    // of activations
inline constexpr int kTileRows = 16;    // of a weight
inline constexpr int kBoxColumns = 64;  // of a weight
inline constexpr int kBoxBytes = kTileRows * kBoxColumns * 2;
inline constexpr int kMostShared = 227 * 1024;  // of a block
inline constexpr int kMostCluster = 8;

// Boxes that a row of a weight is cut into; the last may reach beyond it.
constexpr int boxes_of(std::int64_t depth) {
  return static_cast<int>((depth + kBoxColumns - 1) / kBoxColumns);
}

// Rows of activations padded to a tile of the product.
constexpr int columns_of(std::int64_t rows) { return rows <= 8 ? 8 : 16; }

// Bytes from a row of activations in shared memory to the next: 16 more than a multiple of 128, so
// that the eight rows that are read together lie in different banks.
constexpr int row_bytes(int boxes) { return boxes * kBoxColumns * 2 + 16; }

// Bytes that hold the sums of a tile, one a warp.
constexpr int sums_bytes(std::int64_t rows) { return kWarps * kTileRows * columns_of(rows) * 4; }

// Rows of each half of a group that a tile has, so that blocks, one a multiprocessor, have nearly
// equal shares: 5 to 8.
int half_rows(std::int64_t groups, std::int64_t half, int multiprocessors);

// A product with rows that are normed first: every block holds all of them.
struct NormedPlan {
  int ring;          // boxes of a warp's ring; 0: it does not fit
  int stride;        // bytes from row to row of activations
  int shared_bytes;  // of a block
};
NormedPlan plan_normed(std::int64_t rows, std::int64_t depth);

// A product that is added to the residual. The depth is cut over the blocks of a cluster, each of
// which holds its part of the rows; the clusters share the rows of the weight.
struct AddedPlan {
  int ring;     // boxes of a warp's ring; 0: it does not fit
  int cluster;  // blocks of a cluster
  int clusters;
  int tile_rows;     // of the weight
  int most_tiles;    // of a cluster
  int most_boxes;    // along the depth of a block
  int stride;        // bytes from row to row of activations
  int shared_bytes;  // of a block
};
AddedPlan plan_added(std::int64_t rows, std::int64_t width, std::int64_t depth,
                     int multiprocessors);

}  // namespace stagegate::narrow

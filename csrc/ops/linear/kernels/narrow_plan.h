#pragma once

#include <cstdint>

// How the products of few rows are cut up: for kernels that read a weight once, at the speed of
// memory. A block of sixteen warps reads it in boxes of 16 rows by 64 columns; each warp keeps some
// on the way in a ring of its own in shared memory.
namespace stagegate::narrow {

inline constexpr int kWarps = 16;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kMostRows = 16;    // of activations
inline constexpr int kTileRows = 16;    // of a weight
inline constexpr int kBoxColumns = 64;  // of a weight
inline constexpr int kBoxRowBytes = kBoxColumns * 2;
inline constexpr int kMostShared = 227 * 1024;  // of a block
// Boxes that a ring may hold. Measured: with more than 128 KiB a multiprocessor on the way memory
// is half as fast.
inline constexpr int kRings[] = {3, 2};

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

inline constexpr int kSumsBarriers = 4;  // of a block: see SharedSums

// Rows of each half of a group that a tile has, so that blocks, one a multiprocessor, have nearly
// equal shares: 5 to 8.
int half_rows(std::int64_t groups, std::int64_t half, int multiprocessors);

// A product with rows that are normed first: every block holds all of them.
struct NormedPlan {
  int ring;          // boxes of a warp's ring; 0: it does not fit
  int slot_bytes;    // of a box
  int stride;        // bytes from row to row of activations
  int sums_bytes;    // of the sums of two tiles, and of the norm, which goes there before
  int shared_bytes;  // of a block
};
// box_rows: of the weight, in a box.
NormedPlan plan_normed(std::int64_t rows, std::int64_t depth, int box_rows);

// A product that is added to the residual. A block has some tiles of the weight.
struct AddedPlan {
  int ring;        // as above
  int slot_bytes;  // of a box and the activations that meet it
  int tiles;       // of a block
  int tile_rows;   // of the weight
  int sums_bytes;  // of two tiles
  int shared_bytes;
};
AddedPlan plan_added(std::int64_t rows, std::int64_t width, int multiprocessors);

}  // namespace stagegate::narrow

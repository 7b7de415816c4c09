#pragma once

#include <cstdint>

#include "ops/block_form.h"

// What the kernel for a prompt takes, and the size of its tiles.
namespace stagegate::tiled {

inline constexpr std::int64_t kLeastRows = 65;
inline constexpr std::int64_t kMostRows = std::int64_t{1} << 20;
// Up to so many rows the part of a tile that is computed in vain may cost more than SwiGLU.
inline constexpr std::int64_t kMostContestedRows = 512;
inline constexpr int kTileRows = 128;
// Columns of the result in a tile, the preferred first: the more, the fewer bytes a product reads.
inline constexpr int kTileColumns[] = {96, 80, 72, 64};

constexpr std::int64_t tiles_of(std::int64_t rows, std::int64_t width, int columns) {
  return (rows + kTileRows - 1) / kTileRows * ((width + columns - 1) / columns);
}

// The columns with which the multiprocessor that has most to do has least to do. A tile takes as
// long as its columns and about one more. width: of the result.
constexpr int columns_of(std::int64_t rows, std::int64_t width, int multiprocessors) {
  int best = 0;
  std::int64_t least = 0;
  for (const int columns : kTileColumns) {
    const std::int64_t tiles = tiles_of(rows, width, columns);
    const std::int64_t work = (tiles + multiprocessors - 1) / multiprocessors * (columns + 1);
    if (best != 0 && work >= least) continue;
    best = columns;
    least = work;
  }
  return best;
}

// Rows of operands and result begin at multiples of 16 bytes, as the copy engine wants them.
inline bool fits_gated(const BlockProblem& problem) {
  return problem.alignment == kBlockAlignment && problem.depth > 0 && problem.depth % 8 == 0 &&
         problem.width > 0 && problem.width % 16 == 0;
}

}  // namespace stagegate::tiled

#pragma once

#include <cuda.h>

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/mlp_input/kernels/tiled_plan.h"

// The tiles of the kernel that computes gate and up for a prompt, the ring they are multiplied
// from, and the order in which blocks take them.
namespace stagegate::cuda::tiled {

using stagegate::tiled::kTileRows;

constexpr int kWarp = 32;
constexpr int kWarpgroup = 128;
constexpr int kMultipliers = 2;  // warpgroups that multiply, besides the one that loads
constexpr int kThreads = (1 + kMultipliers) * kWarpgroup;
constexpr int kPartRows = 64;  // of a product of a warpgroup
constexpr int kParts = kTileRows / kPartRows;
constexpr int kDepth = 64;  // of a stage: rows of 128 bytes, as wide as the swizzle
constexpr int kLoaderRegisters = 40;
constexpr int kMultiplierRegisters = 232;
// A block begins with the same number for all threads, and cannot get more.
static_assert(kLoaderRegisters + kMultipliers * kMultiplierRegisters <=
              (1 + kMultipliers) * (65536 / kThreads / 8 * 8));
constexpr int kSharedBytes = 227 * 1024;
// Rows of tiles that are gone through column by column before the next ones: what blocks read at
// the same time then stays in the second cache.
constexpr int kRowsTogether = 8;

template <typename T, int kColumns_>
struct Tile {
  static constexpr int kColumns = kColumns_;  // of the result: as many rows of gate and of up
  static constexpr int kRowElements = kTileRows * kDepth;
  static constexpr int kWeightElements = kColumns * kDepth;
  static constexpr unsigned kStageBytes = (kRowElements + 2 * kWeightElements) * sizeof(T);
  static constexpr int kOutElements = kPartRows * kColumns;
  static constexpr int kReserved = 1024 + kMultipliers * kOutElements * sizeof(T);
  static constexpr int kStages = (kSharedBytes - kReserved) / static_cast<int>(kStageBytes);
  // Columns of a box of the result: as many as a pattern of a swizzle has. Rows of an odd number of
  // pieces of 16 bytes lie in different banks without one.
  static constexpr int kBox = kColumns % 64 == 0   ? 64
                              : kColumns % 32 == 0 ? 32
                              : kColumns % 16 == 0 ? 16
                                                   : kColumns;
  static constexpr CUtensorMapSwizzle kSwizzle = kBox == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
                                                 : kBox == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                 : kBox == 16 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                              : CU_TENSOR_MAP_SWIZZLE_NONE;

  // Of swizzled rows of 128 bytes. Up follows gate, so that both are one operand of a product.
  struct Stage {
    T rows[kRowElements];
    T gate[kWeightElements];
    T up[kWeightElements];
  };
  struct Shared {
    Stage stages[kStages];
    T out[kMultipliers][kOutElements];
    // A phase ends when a stage was filled, or when nobody reads it any more.
    std::uint64_t full[kStages];
    std::uint64_t empty[kStages];
  };
  static_assert(sizeof(Shared) <= kSharedBytes);
};

template <typename T>
struct Operands {
  CUtensorMap rows;    // [count, depth]
  CUtensorMap weight;  // [2 · width, depth]
  CUtensorMap out;     // [count, width]
  const T* bias;       // [2 · width], or null
  int count;
  int width;
  int depth_steps;
  int row_tiles;
  int column_tiles;

  __device__ __forceinline__ int tiles() const { return row_tiles * column_tiles; }
};

// Where a tile begins.
struct Origin {
  int row;
  int column;
};

// The last tile of a row or column ends where the result does, and shares some of it with the tile
// before, which computes the same: the copy engine is slow where it has to write zeros.
template <typename Tile, typename T>
__device__ __forceinline__ Origin origin_of(const Operands<T>& operands, int tile) {
  const int together = kRowsTogether * operands.column_tiles;
  const int first = tile / together * kRowsTogether;
  const int rows = min(kRowsTogether, operands.row_tiles - first);
  const int row = (first + tile % together % rows) * kTileRows;
  const int column = tile % together / rows * Tile::kColumns;
  return {max(min(row, operands.count - kTileRows), 0),
          max(min(column, operands.width - Tile::kColumns), 0)};
}

// Where in the ring a warp is, and the parity of the phase that it waits for there.
template <int kStages>
struct Place {
  int at = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void advance(int count = 1) {
    at += count;
    parity ^= at / kStages & 1u;
    at %= kStages;
  }
};

}  // namespace stagegate::cuda::tiled

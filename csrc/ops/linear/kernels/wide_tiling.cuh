#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "device/cuda/kernel.cuh"

// A product for a batch of some rows: outᵀ = weight · xᵀ on the tensor cores of Hopper. The rows of
// the weight are the rows of a tile, and those of x its columns, because an instruction takes 64
// rows and a batch has any number. A block computes a tile, or one part of the depth of a tile;
// then the blocks of a cluster have the parts and join them.
namespace stagegate::cuda::wide {

constexpr int kDepth = 64;             // of a stage: a row of 128 bytes
constexpr int kRowBytes = 2 * kDepth;  // the elements are 16 bits wide
constexpr int kGroup = 128;            // threads of a warpgroup
constexpr int kBoxRows = 8;            // rows of the weight that stay together in a tile

// What a block of a kernel is made of.
//   kColumns of the tile: rows of x, and as many as it has room for
//   kGroups  warpgroups that multiply, 64 rows of the tile each
//   kNormed  x is normalised on the way
//   kSplit   the depth of a tile is split among the blocks of a cluster
//   kBlocks  on a multiprocessor: two let the next kernel fill its ring while this one runs
template <typename T, int kColumns_, int kGroups_, bool kNormed_, bool kSplit_, int kBlocks_>
struct Tiling {
  using Element = T;
  static constexpr int kColumns = kColumns_;
  static constexpr int kGroups = kGroups_;
  static constexpr bool kNormed = kNormed_;
  static constexpr bool kSplit = kSplit_;
  static constexpr int kRows = 64 * kGroups;
  static constexpr int kMultipliers = kGroups * kGroup;   // threads
  static constexpr int kThreads = kMultipliers + kGroup;  // the last group copies
  static constexpr int kBlocks = kBlocks_;

  static constexpr int kWeightBytes = kRows * kRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kColumns * kRowBytes;
  static constexpr int kRingBytes = (kBlocks == 2 ? 104 : 208) * 1024;
  static constexpr int kStages = kRingBytes / kStageBytes;

  // Sums of parts of the depth: those of a column follow each other, then comes the sum of squares
  // of its row of x, and a gap that keeps the threads of a warp apart. A block has its own, and
  // room for as many from the others.
  static constexpr int kSumStride = kRows + 4;
  static constexpr int kSumBytes = kSplit ? kColumns * kSumStride * 4 : 0;
  static constexpr int kTileBytes =
      kStages * kStageBytes > 2 * kSumBytes ? kStages * kStageBytes : 2 * kSumBytes;
  static constexpr int kBarriers = 2 * kStages + 1;

  // One product of the warpgroup takes this many columns.
  static constexpr int kWidth = kColumns % 64 == 0 ? 64 : 32;
  static constexpr int kProducts = kColumns / kWidth;
  // Registers of a thread that copies, and of one that multiplies: as many as are left.
  static constexpr int kCopyRegisters = 24;
  static constexpr int kRegisters = 65536 / (kThreads * kBlocks) / 8 * 8;
  static constexpr int kLeft = (kRegisters * kThreads - kCopyRegisters * kGroup) / kMultipliers;
  static constexpr int kProductRegisters = kLeft / 8 * 8 < 232 ? kLeft / 8 * 8 : 232;

  static_assert(kColumns % 32 == 0);
};

struct Operands {
  CUtensorMap weight;  // [groups of kBoxRows, parts, kBoxRows, depth] in boxes of a tile
  CUtensorMap x;       // [rows, depth] in boxes of kColumns rows
  const void* norm;    // [depth]
  float eps;
  int rows;  // of x
  int depth;
  int splits;      // of the depth: blocks of a cluster
  int tile_boxes;  // groups of kBoxRows rows from one tile to the next
};

// The shared memory of a block: the ring of stages, later the sums in its place, and the rest.
template <typename Tiling>
struct Shared {
  unsigned char* ring;
  std::uint64_t* full;    // [kStages]
  std::uint64_t* empty;   // [kStages]
  std::uint64_t* joined;  // the parts of the other blocks are there
  float* factors;         // [kColumns]: what the norm multiplies rows of x with
  typename Tiling::Element* norm;

  __device__ explicit Shared(unsigned char* base)
      : ring(base),
        full(reinterpret_cast<std::uint64_t*>(base + Tiling::kTileBytes)),
        empty(full + Tiling::kStages),
        joined(empty + Tiling::kStages),
        factors(reinterpret_cast<float*>(joined + 1)),
        norm(reinterpret_cast<typename Tiling::Element*>(joined + 2) + 2 * Tiling::kColumns) {}

  __device__ unsigned char* weight(int stage) const { return ring + stage * Tiling::kStageBytes; }
  __device__ unsigned char* x(int stage) const { return weight(stage) + Tiling::kWeightBytes; }
  __device__ float* sums(int column) const {
    return reinterpret_cast<float*>(ring) + column * Tiling::kSumStride;
  }
  __device__ float* received(int column) const { return sums(Tiling::kColumns + column); }
};

// steps: stages that a block multiplies, at most.
template <typename Tiling>
constexpr std::size_t shared_bytes(int steps) {
  const std::size_t fixed = Tiling::kTileBytes + (Tiling::kBarriers + 1) * 8 + Tiling::kColumns * 4;
  return fixed + (Tiling::kNormed ? static_cast<std::size_t>(steps) * kRowBytes : 0);
}

// The part of a tile that a block has: which tile, and which stages of its depth.
struct Work {
  int tile;
  int rank;
  int first;
  int count;

  __device__ explicit Work(const Operands& operands) {
    const int steps = (operands.depth + kDepth - 1) / kDepth;
    tile = static_cast<int>(blockIdx.x) / operands.splits;
    rank = static_cast<int>(blockIdx.x) % operands.splits;
    first = steps * rank / operands.splits;
    count = steps * (rank + 1) / operands.splits - first;
  }
};

// A place in the ring, as all who go round it count.
template <int kStages>
struct Turn {
  int stage = 0;
  unsigned parity = 0;

  __device__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace stagegate::cuda::wide

#pragma once

#include <cstdint>

#include "device/cuda/tensor_map.h"
#include "ops/linear/kernels/narrow_plan.h"
#include "ops/ptx_hopper.cuh"

// A weight read once by many warps, box by box, as it lies in memory.
namespace stagegate::cuda::narrow {

using namespace stagegate::narrow;

// A weight in tiles of 16 rows. A tile may be 8 rows each of the two halves of a group of rows:
// what one thread needs together, gate and up, or the two elements that rotate with each other, is
// then in one thread.
struct WeightTiles {
  CUtensorMap map;
  int tiles;
  int tiles_per_group;
  int step;   // rows from one tile of a group to the next
  int boxes;  // of a tile
};

// weight [N, K]. halved: in groups of group_rows rows, of two halves each.
inline WeightTiles whole_tiles(const Tensor& weight) {
  const std::int64_t rows = weight.dim(0);
  const std::int64_t depth = weight.dim(1);
  const auto tiles = static_cast<int>((rows + kTileRows - 1) / kTileRows);
  return {.map = make_tensor_map(weight.raw_data(), weight.dtype(),
                                 {{depth, 1, kBoxColumns},
                                  {rows, depth, kTileRows},
                                  {1, rows * depth, 1},
                                  {1, rows * depth, 1}},
                                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE),
          .tiles = tiles,
          .tiles_per_group = tiles,
          .step = kTileRows,
          .boxes = boxes_of(depth)};
}
inline WeightTiles halved_tiles(const Tensor& weight, std::int64_t group_rows) {
  const std::int64_t depth = weight.dim(1);
  const std::int64_t groups = weight.dim(0) / group_rows;
  const std::int64_t half = group_rows / 2;
  constexpr int kStep = kTileRows / 2;
  const auto tiles = static_cast<int>((half + kStep - 1) / kStep);
  return {.map = make_tensor_map(weight.raw_data(), weight.dtype(),
                                 {{depth, 1, kBoxColumns},
                                  {half, depth, kStep},
                                  {2, half * depth, 2},
                                  {groups, group_rows * depth, 1}},
                                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE),
          .tiles = static_cast<int>(groups) * tiles,
          .tiles_per_group = tiles,
          .step = kStep,
          .boxes = boxes_of(depth)};
}

// The boxes of one warp on their way, in slots of shared memory that only this warp uses. One lane
// asks for them. Whoever refills a slot has read it, so no barrier says that one is free.
class WarpRing {
 public:
  // slots: 1024-byte aligned. All lanes call it.
  __device__ WarpRing(std::uint8_t* slots, std::uint64_t* barriers, int depth)
      : slots_(slots), barriers_(barriers), depth_(depth), policy_(ptx::evict_first()) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if (lane < depth) ptx::init_barrier(barriers + lane, 1);
    ptx::fence_barriers();
    __syncwarp();
  }

  // One lane asks for the box of a tile into the next slot.
  __device__ void ask(const WeightTiles& weight, int tile, int box) {
    std::uint64_t* barrier = barriers_ + next_;
    ptx::arrive_expecting(barrier, kBoxBytes);
    ptx::copy_box(slots_ + next_ * kBoxBytes, weight.map, barrier, policy_, box * kBoxColumns,
                  tile % weight.tiles_per_group * weight.step, 0, tile / weight.tiles_per_group);
    if (++next_ == depth_) next_ = 0;
  }

  // The oldest box that was asked for, when it is there.
  __device__ const std::uint8_t* front() {
    ptx::wait(barriers_ + oldest_, parity_);
    return slots_ + oldest_ * kBoxBytes;
  }
  // All lanes have read it.
  __device__ void pop() {
    __syncwarp();
    if (++oldest_ == depth_) {
      oldest_ = 0;
      parity_ ^= 1;
    }
  }

  __device__ int depth() const { return depth_; }

 private:
  std::uint8_t* slots_;
  std::uint64_t* barriers_;
  int depth_;
  std::uint64_t policy_;
  int next_ = 0;
  int oldest_ = 0;
  unsigned parity_ = 0;
};

// The part of the product that one thread has: of element j of a fragment, the row of the tile is
// lane / 4 + 8 · (j / 2), and the row of activations 2 · (lane % 4) + j % 2, more by 8 in the
// second fragment.
template <int kColumns>
using TileSums = float[kColumns / 8][4];

// Where a lane reads rows of activations in shared memory, for ldmatrix. Rows that are not there
// are those of the last one: their sums are nobody's.
template <int kColumns>
struct RowAddresses {
  const std::uint8_t* of[kColumns / 8];

  __device__ RowAddresses(const std::uint8_t* rows, int stride, int count) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
      of[i] = rows + min(i * 8 + lane % 8, count - 1) * stride + lane / 8 * 16;
    }
  }
};

// sums += box · rows, of 64 columns of the depth from box number `column` of the rows on.
template <typename T, int kColumns>
__device__ void multiply_box(TileSums<kColumns>& sums, const std::uint8_t* box,
                             const RowAddresses<kColumns>& rows, int column) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::uint8_t* row = box + lane % 16 * 128;  // swizzled: 16 bytes are moved by the row % 8
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    std::uint32_t x[kColumns / 8][4];
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
      ptx::load_matrices(x[i], rows.of[i] + column * (kBoxColumns * 2) + half * 64);
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const int chunk = half * 4 + part * 2 + lane / 16;
      std::uint32_t w[4];
      ptx::load_matrices(w, row + ((chunk ^ lane % 8) << 4));
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) {
        ptx::multiply<T>(sums[i], w, x[i][2 * part], x[i][2 * part + 1]);
      }
    }
  }
}

template <int kColumns>
__device__ void clear(TileSums<kColumns>& sums) {
#pragma unroll
  for (auto& fragment : sums) {
#pragma unroll
    for (float& value : fragment) value = 0.0f;
  }
}

__device__ inline std::uint8_t* aligned_shared(std::uint8_t* shared) {
  return shared + (1024 - ptx::shared_address(shared) % 1024) % 1024;
}

}  // namespace stagegate::cuda::narrow

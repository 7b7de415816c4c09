#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ops/linear/kernels/narrow_plan.h"
#include "ops/ptx_hopper.cuh"

// A weight read once by many warps, box by box, as it lies in memory.
namespace stagegate::cuda::narrow {

using namespace stagegate::narrow;

// A weight [N, K] in tiles of at most 16 rows. The first and the second eight rows of a tile may be
// far apart: what one thread needs together, gate and up, or the two elements that rotate with each
// other, is then in one thread.
struct WeightTiles {
  const void* data;
  int depth;
  int boxes;  // of a tile
  int tiles;
  // Tiles come in groups of rows, of two halves each where they are halved.
  int tiles_per_group;
  int group_rows;
  int half_rows;    // from one half to the other; 8 where tiles are whole
  int step;         // rows of the weight from one tile of a group to the next
  int first_rows;   // of the first eight rows of a tile, those there are
  int second_rows;  // of the second
  int limit;        // rows of a half, or of all

  // Rows that a box has in shared memory: the second eight follow the first.
  __host__ __device__ int box_rows() const {
    return second_rows > 0 ? kTileRows / 2 + second_rows : first_rows;
  }
};

// tile_rows: at most 16.
inline WeightTiles whole_tiles(const Tensor& weight, int tile_rows) {
  const auto rows = static_cast<int>(weight.dim(0));
  const int tiles = (rows + tile_rows - 1) / tile_rows;
  constexpr int kHalf = kTileRows / 2;
  return {.data = weight.raw_data(),
          .depth = static_cast<int>(weight.dim(1)),
          .boxes = boxes_of(weight.dim(1)),
          .tiles = tiles,
          .tiles_per_group = tiles,
          .group_rows = rows,
          .half_rows = kHalf,
          .step = tile_rows,
          .first_rows = std::min(tile_rows, kHalf),
          .second_rows = std::max(tile_rows - kHalf, 0),
          .limit = rows};
}
// In groups of group_rows rows, of two halves each. step: rows of each half in a tile, at most 8.
inline WeightTiles halved_tiles(const Tensor& weight, std::int64_t group_rows, int step) {
  const auto half = static_cast<int>(group_rows / 2);
  const int tiles = (half + step - 1) / step;
  return {.data = weight.raw_data(),
          .depth = static_cast<int>(weight.dim(1)),
          .boxes = boxes_of(weight.dim(1)),
          .tiles = static_cast<int>(weight.dim(0) / group_rows) * tiles,
          .tiles_per_group = tiles,
          .group_rows = static_cast<int>(group_rows),
          .half_rows = half,
          .step = step,
          .first_rows = step,
          .second_rows = step,
          .limit = half};
}

// Where 16 bytes of a row lie in a box: moved by the row in its group of eight, so that the rows
// that are read together lie in different banks.
__device__ inline int swizzled(int row, int pack) { return row * 128 + ((pack ^ row % 8) << 4); }

// The same value, which all lanes give, in a register of each as far as the assembler knows. That
// of CUDA 13.0 encodes wrongly copies whose address in shared memory it takes for uniform in part:
// "illegal instruction".
template <typename Value>
__device__ Value in_each_lane(Value value) {
  return __shfl_sync(~0u, value, 0);
}

// Which part of a box a lane copies: 16 bytes of four rows.
template <typename T>
class BoxSource {
 public:
  // All lanes call it for a new tile.
  __device__ void move_to(const WeightTiles& weight, int tile) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int row = lane / 8;
    const bool one_group = weight.tiles == weight.tiles_per_group;
    const int group = one_group ? 0 : tile / weight.tiles_per_group;
    const int first = (tile - group * weight.tiles_per_group) * weight.step;
    const std::int64_t of_weight = static_cast<std::int64_t>(group) * weight.group_rows + first;
    from_ =
        static_cast<const T*>(weight.data) + (of_weight + row) * weight.depth + lane % 8 * kPack;
    there_ = 0;
    // Whole tiles end with the weight, halves each with itself.
    const bool whole = weight.half_rows == kTileRows / 2 && weight.limit == weight.group_rows;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const bool second = i >= kRows / 2;
      const int of_half = row + i % 2 * 4;
      const int at = first + of_half + (second && whole ? weight.half_rows : 0);
      const bool there =
          of_half < (second ? weight.second_rows : weight.first_rows) && at < weight.limit;
      there_ |= static_cast<unsigned>(there) << i;
    }
  }

  // slot: address in shared memory.
  __device__ void copy(const WeightTiles& weight, std::uint32_t slot, int box,
                       std::uint64_t policy) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const bool present = box * kBoxColumns + lane % 8 * kPack < weight.depth;
    const T* from = from_ + (present ? box * kBoxColumns : 0);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if ((there_ >> i & 1) == 0) continue;
      ptx::copy_async(slot + swizzled(lane / 8 + 4 * i, lane % 8), from + to_row(weight, i),
                      present, policy);
    }
  }

 private:
  static constexpr int kPack = 16 / sizeof(T);
  static constexpr int kRows = 4;

  // Elements from the first of the four rows to another.
  __device__ static std::int64_t to_row(const WeightTiles& weight, int i) {
    const int rows = i % 2 * 4 + (i >= kRows / 2 ? weight.half_rows : 0);
    return static_cast<std::int64_t>(rows) * weight.depth;
  }

  const T* from_;
  unsigned there_;  // bit i: row i
};

// The slots of shared memory of one warp, in which boxes come to it. Only this warp uses them: no
// barrier says that one is full or free. All lanes call everything.
template <typename T, int kDepth>
class WarpRing {
 public:
  __device__ WarpRing(std::uint8_t* slots, int slot_bytes)
      : slots_(slots),
        address_(in_each_lane(ptx::shared_address(slots))),
        bytes_(in_each_lane(slot_bytes)),
        policy_(ptx::evict_first()) {}

  // Where copies go.
  __device__ std::uint32_t address(int slot) const { return address_ + slot * bytes_; }
  // Asks for a box into the next slot, whose address it returns.
  __device__ std::uint32_t ask(const WeightTiles& weight, int tile, int box) {
    if (tile != tile_) source_.move_to(weight, tile_ = tile);
    const std::uint32_t to = address(next_);
    source_.copy(weight, to, box, policy_);
    if (++next_ == kDepth) next_ = 0;
    return to;
  }

  // The oldest of kDepth boxes that were asked for, when it is there.
  __device__ const std::uint8_t* front() {
    ptx::wait_copies<kDepth - 1>();
    __syncwarp();
    return slots_ + oldest_ * bytes_;
  }
  // All lanes have read it.
  __device__ void pop() {
    __syncwarp();
    if (++oldest_ == kDepth) oldest_ = 0;
  }

 private:
  std::uint8_t* slots_;
  std::uint32_t address_;
  int bytes_;
  std::uint64_t policy_;
  BoxSource<T> source_;
  int tile_ = -1;
  int next_ = 0;
  int oldest_ = 0;
};

// The part of the product that one thread has: of element j of a fragment, the row of the tile is
// lane / 4 + 8 · (j / 2), and the row of activations 2 · (lane % 4) + j % 2, more by 8 in the
// second fragment.
template <int kColumns>
using TileSums = float[kColumns / 8][4];

// A box and the activations that meet it, in registers: the slot it came in is free again before it
// is multiplied.
template <typename T, int kColumns>
class BoxFragments {
 public:
  // rows(fragment, half): where the lane reads the activations that meet this half of the box, for
  // ldmatrix.
  template <typename Rows>
  __device__ BoxFragments(const std::uint8_t* box, Rows rows) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) ptx::load_matrices(x_[half][i], rows(i, half));
    }
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      ptx::load_matrices(w_[part], box + swizzled(lane % 16, part * 2 + lane / 16));
    }
  }

  // Parts of the depth in turn, so that no product waits for the one before.
  __device__ void multiply(TileSums<kColumns>& even, TileSums<kColumns>& odd) const {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) {
        const std::uint32_t* x = x_[part / 2][i] + part % 2 * 2;
        ptx::multiply<T>(part % 2 == 0 ? even[i] : odd[i], w_[part], x[0], x[1]);
      }
    }
  }

 private:
  std::uint32_t x_[2][kColumns / 8][4];
  std::uint32_t w_[4][4];
};

template <int kColumns>
__device__ void clear(TileSums<kColumns>& sums) {
#pragma unroll
  for (auto& fragment : sums) {
#pragma unroll
    for (float& value : fragment) value = 0.0f;
  }
}

// Calls fn with the number of boxes of a ring that a plan chose, as a constant.
template <typename Fn>
void with_ring(int ring, Fn&& fn) {
  static_assert(kRings[0] == 3 && kRings[1] == 2);
  if (ring == 3) return fn(std::integral_constant<int, 3>{});
  fn(std::integral_constant<int, 2>{});
}

}  // namespace stagegate::cuda::narrow

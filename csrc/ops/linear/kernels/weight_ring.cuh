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

// Which part of a box a lane copies: 16 bytes of four rows.
template <typename T>
class BoxSource {
 public:
  // All lanes call it for a new tile.
  __device__ void move_to(const WeightTiles& weight, int tile) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int first = tile % weight.tiles_per_group * weight.step;
    const auto group = static_cast<std::int64_t>(tile / weight.tiles_per_group) * weight.group_rows;
    column_ = lane % 8 * kPack;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = (lane / 8 + 4 * i) % 8;
      const bool second = i >= kRows / 2;
      // Whole tiles end with the weight, halves each with itself.
      const bool whole = weight.half_rows == kTileRows / 2 && weight.limit == weight.group_rows;
      const int at = first + row + (second && whole ? weight.half_rows : 0);
      const bool there =
          row < (second ? weight.second_rows : weight.first_rows) && at < weight.limit;
      const std::int64_t of = group + first + row + (second ? weight.half_rows : 0);
      rows_[i] = there ? static_cast<const T*>(weight.data) + of * weight.depth + column_ : nullptr;
    }
  }

  __device__ void copy(const WeightTiles& weight, std::uint8_t* slot, int box,
                       std::uint64_t policy) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const bool present = box * kBoxColumns + column_ < weight.depth;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (rows_[i] == nullptr) continue;
      const int row = lane / 8 + 4 * i;
      // Swizzled: 16 bytes of a row are moved by the row in its group of eight.
      ptx::copy_async(slot + row * 128 + ((lane % 8 ^ row % 8) << 4),
                      rows_[i] + (present ? box * kBoxColumns : 0), present, policy);
    }
  }

 private:
  static constexpr int kPack = 16 / sizeof(T);
  static constexpr int kRows = 4;

  int column_;
  const T* rows_[kRows];
};

// The boxes of one warp on their way, in slots of shared memory that only this warp uses: no
// barrier says that one is full or free. All lanes call everything.
template <typename T, int kDepth>
class WarpRing {
 public:
  __device__ explicit WarpRing(std::uint8_t* slots) : slots_(slots), policy_(ptx::evict_first()) {}

  // Asks for a box into the next slot.
  __device__ void ask(const WeightTiles& weight, int tile, int box) {
    if (tile != tile_) source_.move_to(weight, tile_ = tile);
    source_.copy(weight, slots_ + next_ * kBoxBytes, box, policy_);
    if (++next_ == kDepth) next_ = 0;
  }
  // Ends the request for one box, or for none where there is none left.
  __device__ void commit() { ptx::commit_copies(); }

  // The oldest of kDepth boxes that were asked for, when it is there.
  __device__ const std::uint8_t* front() {
    ptx::wait_copies<kDepth - 1>();
    __syncwarp();
    return slots_ + oldest_ * kBoxBytes;
  }
  // All lanes have read it.
  __device__ void pop() {
    __syncwarp();
    if (++oldest_ == kDepth) oldest_ = 0;
  }

 private:
  std::uint8_t* slots_;
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
  const std::uint8_t* row = box + lane % 16 * 128;
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

// Calls fn with the number of boxes of a ring that a plan chose, as a constant.
template <typename Fn>
void with_ring(int ring, Fn&& fn) {
  if (ring >= 6) return fn(std::integral_constant<int, 6>{});
  if (ring >= 4) return fn(std::integral_constant<int, 4>{});
  fn(std::integral_constant<int, 3>{});
}

__device__ inline std::uint8_t* aligned_shared(std::uint8_t* shared) {
  return shared + (1024 - ptx::shared_address(shared) % 1024) % 1024;
}

}  // namespace stagegate::cuda::narrow

#pragma once

#include "ops/linear/kernels/wide_tiling.cuh"
#include "ops/wgmma.cuh"

// What a warpgroup that multiplies does: 64 rows of the tile, stage by stage.
namespace stagegate::cuda::wide {

template <typename Tiling>
using Sums = float[Tiling::kProducts][Tiling::kWidth / 2];

// A pair of elements times another.
template <typename T>
__device__ __forceinline__ std::uint32_t times(std::uint32_t pair, std::uint32_t by) {
  using Pair = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
  const Pair product =
      __hmul2(reinterpret_cast<const Pair&>(pair), reinterpret_cast<const Pair&>(by));
  return reinterpret_cast<const std::uint32_t&>(product);
}

// Weights of 16 columns and this warp's 16 rows as a fragment, times the norm of their columns.
template <typename T>
__device__ __forceinline__ void load_normed(std::uint32_t (&a)[4], const unsigned char* rows,
                                            const T* norm, int column) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = static_cast<int>(threadIdx.x) % kGroup / kWarp * 16 + lane % 16;
  const int part = (column / 8 + lane / 16) ^ (row & 7);
  ptx::load_matrices(a, rows + row * kRowBytes + part * 16);
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(norm + column) + lane % 4;
  const std::uint32_t low = pairs[0];
  const std::uint32_t high = pairs[4];
  a[0] = times<T>(a[0], low);
  a[1] = times<T>(a[1], low);
  a[2] = times<T>(a[2], high);
  a[3] = times<T>(a[3], high);
}

// sum += the products of a stage, which are running when it returns. rows: the 64 rows of the
// weight; norm: of the columns of the stage.
template <typename Tiling>
__device__ __forceinline__ void multiply_stage(Sums<Tiling>& sum, const unsigned char* rows,
                                               const unsigned char* x,
                                               const typename Tiling::Element* norm) {
  using T = typename Tiling::Element;
  constexpr int kSteps = kDepth / 16;
  std::uint32_t a[Tiling::kNormed ? kSteps : 1][4];
  if constexpr (Tiling::kNormed) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) load_normed(a[step], rows, norm, step * 16);
  }
  wgmma::fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int along = step * 16 * 2 >> 4;  // in the units of a descriptor
#pragma unroll
    for (int product = 0; product < Tiling::kProducts; ++product) {
      const std::uint64_t b = wgmma::describe(x + product * Tiling::kWidth * kRowBytes) + along;
      if constexpr (Tiling::kNormed) {
        wgmma::multiply<T>(sum[product], a[step], b, true);
      } else {
        wgmma::multiply<T>(sum[product], wgmma::describe(rows) + along, b, true);
      }
    }
  }
  wgmma::commit();
}

// Sums of squares of the rows of x, by the threads of two groups while products run. A thread has
// 8 columns of every 32nd row.
template <typename Tiling>
struct Squares {
  static constexpr int kThreads = Tiling::kGroups == 1 ? kGroup : 2 * kGroup;
  static constexpr int kStep = kThreads / 8;  // rows
  static constexpr int kEach = Tiling::kColumns / kStep;

  float total[kEach] = {};

  __device__ __forceinline__ void add(const unsigned char* x) {
    if (threadIdx.x >= kThreads) return;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const auto part = reinterpret_cast<const Pack<typename Tiling::Element>*>(
          x)[i * kThreads + static_cast<int>(threadIdx.x)];
      float even = 0.0f;
      float odd = 0.0f;
#pragma unroll
      for (int e = 0; e < 8; e += 2) {
        const float low = to_float(part.values[e]);
        const float high = to_float(part.values[e + 1]);
        even = fmaf(low, low, even);
        odd = fmaf(high, high, odd);
      }
      total[i] += even + odd;
    }
  }

  // put(row, sum) for the rows that this thread finishes.
  template <typename Put>
  __device__ __forceinline__ void finish(Put put) {
    if (threadIdx.x >= kThreads) return;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int lanes = 4; lanes > 0; lanes /= 2) {
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], lanes);
      }
      if (threadIdx.x % 8 == 0) put(i * kStep + static_cast<int>(threadIdx.x) / 8, total[i]);
    }
  }
};
template <typename Tiling>
struct NoSquares {
  __device__ __forceinline__ void add(const unsigned char*) {}
  template <typename Put>
  __device__ __forceinline__ void finish(Put) {}
};
template <typename Tiling>
using SquaresOf = std::conditional_t<Tiling::kNormed, Squares<Tiling>, NoSquares<Tiling>>;

// sum: what is left in the threads of group `group` after all stages of the work.
template <typename Tiling>
__device__ __forceinline__ void multiply_work(Sums<Tiling>& sum, SquaresOf<Tiling>& squares,
                                              const Work& work, const Shared<Tiling>& shared,
                                              int group) {
  constexpr int kRunning = Tiling::kNormed ? 0 : 1;
  Turn<Tiling::kStages> turn;
  Turn<Tiling::kStages> done;
  for (int step = 0; step < work.count; ++step) {
    ptx::wait(&shared.full[turn.stage], turn.parity);
    multiply_stage<Tiling>(sum, shared.weight(turn.stage) + group * 64 * kRowBytes,
                           shared.x(turn.stage), shared.norm + step * kDepth);
    squares.add(shared.x(turn.stage));
    // Fragments in registers are overwritten for the next stage.
    wgmma::wait<kRunning>();
    if (step >= kRunning && threadIdx.x % kWarp == 0) ptx::arrive(&shared.empty[done.stage]);
    if (step >= kRunning) done.next();
    turn.next();
  }
  wgmma::wait<0>();
}

}  // namespace stagegate::cuda::wide

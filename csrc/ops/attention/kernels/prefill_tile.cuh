#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// What a warp of the prefill kernel does with its 16 rows and one tile of keys and values: scores,
// weights, weighted sum. In its fragments a thread holds rows lane / 4 and that plus 8.
namespace stagegate::cuda {
namespace {

constexpr int kRows = 64;  // of a tile of queries
constexpr int kKeys = 64;  // of a tile of keys

// The running softmax of the two rows of a thread.
struct Softmax {
  float maximum[2] = {-INFINITY, -INFINITY};  // of unscaled scores
  // What exponents are relative to: the scaled maximum as rounded, so that it cancels exactly.
  float offset[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's columns
};

// score += q · kᵀ
template <typename T, int kDim>
__device__ __forceinline__ void multiply_keys(const T* warp_q, const T* tile_k,
                                              float (&score)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    std::uint32_t a[4];
    ptx::load_matrices(a, warp_q + swizzled<kDim>(lane & 15, step * 2 + (lane >> 4)));
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      std::uint32_t b[4];
      ptx::load_matrices(b, tile_k + swizzled<kDim>(n * 16 + (lane & 7) + ((lane >> 4) << 3),
                                                    step * 2 + ((lane >> 3) & 1)));
      ptx::multiply<T>(score[2 * n], a, b[0], b[1]);
      ptx::multiply<T>(score[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// Leaves out the keys from `seen` on, of a tile whose first key is at position `first`.
__device__ __forceinline__ void leave_out(int first, const int (&seen)[2],
                                          float (&score)[kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int position = first + n * 8 + lane % 4 * 2 + (e & 1);
      if (position >= seen[e / 2]) score[n][e] = -INFINITY;
    }
  }
}

// Scores to weights, and the sums so far to the new offset.
template <int kDim>
__device__ __forceinline__ void weigh(float scale_log2, float (&score)[kKeys / 8][4],
                                      Softmax& state, float (&sum)[kDim / 8][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float highest = state.maximum[half];
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      highest = fmaxf(highest, fmaxf(score[n][2 * half], score[n][2 * half + 1]));
    }
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
    // The first tile has a key for every row, so the maximum is finite from then on.
    const float scaled = highest * scale_log2;
    const float decay = exp2f(state.offset[half] - scaled);
    state.maximum[half] = highest;
    state.offset[half] = scaled;
    float added = 0.0f;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        score[n][e] = exp2f(fmaf(score[n][e], scale_log2, -scaled));
        added += score[n][e];
      }
    }
    state.total[half] = fmaf(state.total[half], decay, added);
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      sum[d][2 * half] *= decay;
      sum[d][2 * half + 1] *= decay;
    }
  }
}

// sum += weights · v
template <typename T, int kDim>
__device__ __forceinline__ void multiply_values(const float (&weights)[kKeys / 8][4],
                                                const T* tile_v, float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const float (&low)[4] = weights[2 * step];
    const float (&high)[4] = weights[2 * step + 1];
    const std::uint32_t a[4] = {ptx::pair<T>(low[0], low[1]), ptx::pair<T>(low[2], low[3]),
                                ptx::pair<T>(high[0], high[1]), ptx::pair<T>(high[2], high[3])};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      std::uint32_t b[4];
      ptx::load_transposed(b,
                           tile_v + swizzled<kDim>(step * 16 + (lane & 15), d * 2 + (lane >> 4)));
      ptx::multiply<T>(sum[2 * d], a, b[0], b[1]);
      ptx::multiply<T>(sum[2 * d + 1], a, b[2], b[3]);
    }
  }
}

}  // namespace
}  // namespace stagegate::cuda

#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// What a warp of the decode kernel does with one tile of keys and values: scores, weights, weighted
// sum. In the fragments of a warp a thread holds rows lane / 4 and that plus 8.
namespace stagegate::cuda {
namespace {

constexpr int kRows = 16;  // heads of a tile
constexpr int kKeys = 16;  // keys of a tile

// Multiplies what was summed up relative to `from` to be relative to `to`; nothing seen yet is 0.
__device__ inline float rescale(float from, float to) {
  return from == -INFINITY ? 0.0f : exp2f(from - to);
}

// The query as fragments of the products, straight from global memory: each part is used once.
template <typename T, int kDim>
__device__ __forceinline__ void load_query(const T* query, int num_heads,
                                           std::uint32_t (&parts)[kDim / 16][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* q = query + lane % 4 * 2;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int row = lane / 4 + part % 2 * 8;
      const T* from = q + row * kDim + step * 16 + part / 2 * 8;
      parts[step][part] = row < num_heads ? *reinterpret_cast<const std::uint32_t*>(from) : 0u;
    }
  }
}

// score += q · kᵀ
template <typename T, int kDim>
__device__ __forceinline__ void multiply_keys(const std::uint32_t (&q_parts)[kDim / 16][4],
                                              const T* tile_k, float (&score)[2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    std::uint32_t b[4];
    ptx::load_matrices(
        b, tile_k + swizzled<kDim>((lane & 7) + ((lane >> 4) << 3), step * 2 + ((lane >> 3) & 1)));
    ptx::multiply<T>(score[0], q_parts[step], b[0], b[1]);
    ptx::multiply<T>(score[1], q_parts[step], b[2], b[3]);
  }
}

// Leaves out the places of a tile behind the `left` keys that there are.
__device__ __forceinline__ void leave_out(int left, float (&score)[2][4]) {
  if (left >= kKeys) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (n * 8 + lane % 4 * 2 + (e & 1) >= left) score[n][e] = -INFINITY;
    }
  }
}

// Scores to weights, and the sums so far to the new offset: the largest scaled score, as rounded.
// total: of this thread's columns.
template <int kDim>
__device__ __forceinline__ void weigh(float scale_log2, float (&score)[2][4], float (&offset)[2],
                                      float (&total)[2], float (&sum)[kDim / 8][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float highest = fmaxf(fmaxf(score[0][2 * half], score[0][2 * half + 1]),
                          fmaxf(score[1][2 * half], score[1][2 * half + 1]));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
    // A tile has at least one key, so this is above -INFINITY unless a score is.
    const float scaled = fmaxf(offset[half], highest * scale_log2);
    const float decay = rescale(offset[half], scaled);
    offset[half] = scaled;
    float added = 0.0f;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        const float exponent = fmaf(score[n][e], scale_log2, -scaled);
        score[n][e] = score[n][e] == -INFINITY ? 0.0f : exp2f(exponent);
        added += score[n][e];
      }
    }
    total[half] = fmaf(total[half], decay, added);
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      sum[d][2 * half] *= decay;
      sum[d][2 * half + 1] *= decay;
    }
  }
}

// sum += weights · v
template <typename T, int kDim>
__device__ __forceinline__ void multiply_values(const float (&weights)[2][4], const T* tile_v,
                                                float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::uint32_t a[4] = {
      ptx::pair<T>(weights[0][0], weights[0][1]), ptx::pair<T>(weights[0][2], weights[0][3]),
      ptx::pair<T>(weights[1][0], weights[1][1]), ptx::pair<T>(weights[1][2], weights[1][3])};
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    std::uint32_t b[4];
    ptx::load_transposed(b, tile_v + swizzled<kDim>(lane & 15, d * 2 + (lane >> 4)));
    ptx::multiply<T>(sum[2 * d], a, b[0], b[1]);
    ptx::multiply<T>(sum[2 * d + 1], a, b[2], b[3]);
  }
}

}  // namespace
}  // namespace stagegate::cuda

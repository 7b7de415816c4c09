#pragma once

#include <algorithm>
#include <type_traits>

#include "device/cuda/kernel.cuh"

// A row in the registers of one block, and its RMS norm. What the kernels with a norm share, so
// that they give the same bits.
namespace stagegate::cuda {

constexpr int kNormThreads = 256;

// How a block holds a row of some packs: packs a thread, 0 for more than registers take.
constexpr int held_packs(int packs) {
  const int needed = (packs + kNormThreads - 1) / kNormThreads;
  return needed <= 2 ? std::max(needed, 1) : needed <= 4 ? 4 : 0;
}

// Threads of a block whose row has some packs: no more than have one each.
constexpr int norm_threads(int packs) {
  return std::clamp((packs + kWarp - 1) / kWarp * kWarp, kWarp, kNormThreads);
}

// Calls fn with held_packs() as a constant.
template <typename Fn>
void dispatch_held(int packs, Fn&& fn) {
  switch (held_packs(packs)) {
    case 1:
      return std::forward<Fn>(fn)(std::integral_constant<int, 1>{});
    case 2:
      return std::forward<Fn>(fn)(std::integral_constant<int, 2>{});
    case 4:
      return std::forward<Fn>(fn)(std::integral_constant<int, 4>{});
    default:
      return std::forward<Fn>(fn)(std::integral_constant<int, 0>{});
  }
}

template <typename T, int kWidth>
__device__ float add_squares(const Pack<T, kWidth>& pack, float sum) {
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    const float value = to_float(pack.values[e]);
    sum = __fmaf_rn(value, value, sum);
  }
  return sum;
}

// Of a row of `width` elements whose squares add up to `sum`.
__device__ inline float inverse_rms(float sum, int width, float eps) {
  return 1.0f / sqrtf(sum / static_cast<float>(width) + eps);
}

template <typename T, int kWidth>
__device__ Pack<T, kWidth> scaled_pack(const Pack<T, kWidth>& pack, float inverse,
                                       const Pack<T, kWidth>& scales) {
  Pack<T, kWidth> result;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    result.values[e] =
        from_float<T>(to_float(pack.values[e]) * inverse * to_float(scales.values[e]));
  }
  return result;
}

// Norms the row that a block of norm_threads(packs) holds: pack i of it is with thread
// i % kNormThreads.
template <typename T, int kWidth, int kHeld>
__device__ void norm_held_row(const Pack<T, kWidth> (&held)[kHeld], const Pack<T, kWidth>* weight,
                              Pack<T, kWidth>* out, int packs, float eps) {
  Pack<T, kWidth> scales[kHeld];
  float sum = 0.0f;
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int i = threadIdx.x + h * kNormThreads;
    if (i >= packs) continue;
    scales[h] = weight[i];
    sum = add_squares(held[h], sum);
  }
  const float inverse = inverse_rms(block_sum(sum), packs * kWidth, eps);
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int i = threadIdx.x + h * kNormThreads;
    if (i < packs) out[i] = scaled_pack(held[h], inverse, scales[h]);
  }
}

}  // namespace stagegate::cuda

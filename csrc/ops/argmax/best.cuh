#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"

// The largest of many values as the maximum of 64-bit words: order-free, so blocks may find it in
// parts.
namespace stagegate::cuda {

using Word = unsigned long long;

// Order-preserving bits of a float; both zeros have the same. NaN is below everything.
__device__ inline std::uint32_t ordered_bits(float value) {
  if (isnan(value)) return 0;
  const std::uint32_t bits = __float_as_uint(value + 0.0f);  // -0 + 0 = +0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// A value and its index: the larger value has the larger word, the lower index among equals. NaN
// yields the word 0, which is less than any other.
__device__ inline Word packed(float value, std::uint32_t index) {
  const std::uint32_t bits = ordered_bits(value);
  return bits == 0 ? 0 : Word{bits} << 32 | (0xffffffffu - index);
}

// 0 for the word of NaN.
__device__ inline std::uint32_t packed_index(Word word) {
  return word == 0 ? 0 : 0xffffffffu - static_cast<std::uint32_t>(word);
}

__device__ inline float packed_value(Word word) {
  const auto bits = static_cast<std::uint32_t>(word >> 32);
  if (bits == 0) return __uint_as_float(0x7fffffffu);  // NaN
  return __uint_as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
}

struct Maximum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Minimum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct BitOr {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a | b;
  }
};

// Reduces over a block of whole warps, the same for every thread; always in one order.
template <typename Op, typename T>
__device__ T block_reduce(T value) {
  __shared__ T partial[1024 / kWarp];
  const Op op;
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = op(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = partial[0];
  for (unsigned warp = 1; warp < blockDim.x / kWarp; ++warp) total = op(total, partial[warp]);
  __syncthreads();  // the next reduction writes where this one reads
  return total;
}

}  // namespace stagegate::cuda

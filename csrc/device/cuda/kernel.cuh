#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/fault.h"

// What kernels are written with. For .cu files only.
namespace stagegate::cuda {

// The CUDA type that has the bits of a storage type of the core.
template <typename T>
struct device_type;
template <>
struct device_type<float> {
  using type = float;
};
template <>
struct device_type<float16> {
  using type = __half;
};
template <>
struct device_type<bfloat16> {
  using type = __nv_bfloat16;
};

// Calls fn with a value of the CUDA type behind a floating dtype, as dispatch_floating does.
template <typename Fn>
void dispatch_device(std::string_view op, DType dtype, Fn&& fn) {
  dispatch_floating(op, dtype, [&](auto tag) {
    std::forward<Fn>(fn)(typename device_type<decltype(tag)>::type{});
  });
}

template <typename T>
const T* input(const Tensor& tensor) {
  return static_cast<const T*>(tensor.raw_data());
}
template <typename T>
T* output(const Tensor& tensor) {
  return static_cast<T*>(tensor.raw_data());
}

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// kCount elements that are loaded and stored in one instruction.
template <typename T, int kCount = 16 / sizeof(T)>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

inline bool all_aligned(std::initializer_list<const void*> addresses, std::size_t alignment) {
  for (const void* address : addresses) {
    if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) return false;
  }
  return true;
}

// Calls fn with the number of elements of a Pack that rows divide into and every address is aligned
// for: 16 bytes of them, or one element. steps: elements of a row and from row to row, joined by |.
template <typename T, typename Fn>
void dispatch_pack(std::int64_t steps, std::initializer_list<const void*> addresses, Fn&& fn) {
  constexpr int kWidest = 16 / sizeof(T);
  if (steps % kWidest == 0 && all_aligned(addresses, 16)) {
    return std::forward<Fn>(fn)(std::integral_constant<int, kWidest>{});
  }
  std::forward<Fn>(fn)(std::integral_constant<int, 1>{});
}

// For kernels that only move bits: calls fn with a value of the type to move a row in, 16 or 2
// bytes wide. steps: bytes of a row and from row to row, joined by |.
template <typename Fn>
void dispatch_unit(std::int64_t steps, std::initializer_list<const void*> addresses, Fn&& fn) {
  if (steps % 16 == 0 && all_aligned(addresses, 16)) return std::forward<Fn>(fn)(uint4{});
  std::forward<Fn>(fn)(std::uint16_t{});
}

constexpr int kWarp = 32;

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

// Sum over a block of whole warps, the same for every thread; always added in one order. Once in a
// kernel: a second sum would write where a slow warp still reads.
__device__ inline float block_sum(float value) {
  __shared__ float partial[kWarp];
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0.0f;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) total += partial[warp];
  return total;
}

// Notes a fault unless there is one already. code: of the operator's enum, or a FaultCode.
template <typename Code>
__device__ inline void report(Fault* fault, Code code, std::int64_t a, std::int64_t b = 0,
                              std::int64_t c = 0, double value = 0.0) {
  if (atomicCAS(&fault->code, 0, static_cast<FaultCode>(code)) != 0) return;
  fault->a = a;
  fault->b = b;
  fault->c = c;
  fault->value = value;
}

}  // namespace stagegate::cuda

#pragma once

#include "device/cuda/kernel.cuh"

namespace stagegate::cuda::wide {

// A value as the operator that an epilogue stands for would have stored it.
template <typename T>
__device__ __forceinline__ float rounded(float value) {
  return to_float(from_float<T>(value));
}

}  // namespace stagegate::cuda::wide

#pragma once

#include <cuda_runtime_api.h>

#include "core/check.h"

namespace stagegate::cuda {

// Throws what a failed runtime call means to a caller: OutOfMemoryError or DeviceError. The
// runtime's error state is cleared, so that a recoverable error is not reported again by the next
// call.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());
  const std::string text =
      message(call, ": ", cudaGetErrorName(status), ", ", cudaGetErrorString(status));
  if (status == cudaErrorMemoryAllocation) throw OutOfMemoryError(text);
  throw DeviceError(text);
}

}  // namespace stagegate::cuda

// Every call of the CUDA runtime goes through this; after a kernel launch:
// SG_CUDA(cudaGetLastError()).
#define SG_CUDA(call) ::stagegate::cuda::check((call), #call)

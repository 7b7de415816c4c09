#pragma once

#include <cuda_runtime_api.h>

#include "core/check.h"

namespace stagegate::cuda {

// Errors after which every call fails until the process ends (CUDA Runtime API, cudaError_t).
constexpr bool is_sticky(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorECCUncorrectable:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
    case cudaErrorMpsClientTerminated:
      return true;
    default:
      return false;
  }
}

// Throws what a failed runtime call means to a caller: OutOfMemoryError, DeviceLostError or
// DeviceError. The runtime's error state is cleared, so that a recoverable error is not reported
// again by the next call.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());
  const std::string text =
      message(call, ": ", cudaGetErrorName(status), ", ", cudaGetErrorString(status));
  if (status == cudaErrorMemoryAllocation) throw OutOfMemoryError(text);
  if (is_sticky(status)) throw DeviceLostError(text + "; start the process anew");
  throw DeviceError(text);
}

}  // namespace stagegate::cuda

// Every call of the CUDA runtime goes through this; after a kernel launch:
// SG_CUDA(cudaGetLastError()).
#define SG_CUDA(call) ::stagegate::cuda::check((call), #call)

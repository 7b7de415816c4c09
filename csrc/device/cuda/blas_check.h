#pragma once

#include <cublasLt.h>

#include "core/check.h"

namespace stagegate::cuda {

// Throws DeviceError.
inline void check(cublasStatus_t status, const char* call) {
  SG_CHECK(DeviceError, status == CUBLAS_STATUS_SUCCESS, call, ": ", cublasLtGetStatusName(status));
}

}  // namespace stagegate::cuda

// Every call of cuBLASLt that must not fail goes through this.
#define SG_BLAS(call) ::stagegate::cuda::check((call), #call)

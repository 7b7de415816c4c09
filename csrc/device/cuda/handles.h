#pragma once

#include <cuda_runtime_api.h>

#include "device/cuda/check.h"
#include "device/cuda/owned.h"

namespace stagegate::cuda {

using StreamHandle = Owned<cudaStream_t, cudaStreamDestroy>;
using EventHandle = Owned<cudaEvent_t, cudaEventDestroy>;

// Of the current device. Throw DeviceError.

// flags: cudaStreamDefault waits for the legacy default stream and it for this one.
inline StreamHandle create_stream(unsigned flags = cudaStreamDefault) {
  StreamHandle stream;
  SG_CUDA(cudaStreamCreateWithFlags(stream.out(), flags));
  return stream;
}

inline EventHandle create_event(unsigned flags = cudaEventDefault) {
  EventHandle event;
  SG_CUDA(cudaEventCreateWithFlags(event.out(), flags));
  return event;
}

}  // namespace stagegate::cuda

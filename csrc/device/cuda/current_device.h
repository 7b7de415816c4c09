#pragma once

#include <cuda_runtime_api.h>

#include "device/cuda/check.h"

namespace stagegate::cuda {

// The current device belongs to the thread; whoever changes it leaves it as it was.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    SG_CUDA(cudaGetDevice(&previous_));
    changed_ = index != previous_;
    if (changed_) SG_CUDA(cudaSetDevice(index));
  }
  ~CurrentDevice() {
    if (changed_) static_cast<void>(cudaSetDevice(previous_));
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};

}  // namespace stagegate::cuda

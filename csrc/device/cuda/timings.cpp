#include "device/cuda/timings.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <mutex>

#include "core/check.h"
#include "device/cuda/check.h"
#include "device/cuda/runtime.h"

namespace stagegate::cuda {

namespace {

std::string subject_of(int device_index) {
  int driver = 0;
  int multiprocessors = 0;
  SG_CUDA(cudaDriverGetVersion(&driver));
  SG_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device_index));
  return message(device_name(device_index), " with ", multiprocessors, " multiprocessors, driver ",
                 driver, ", cuBLASLt ", cublasLtGetVersion(), ", revision ", kTimingsRevision);
}

}  // namespace

TimingStore& timings_of(int device_index) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<TimingStore>> stores;
  const std::lock_guard lock(mutex);
  std::unique_ptr<TimingStore>& store = stores[device_index];
  if (store == nullptr) {
    store = std::make_unique<TimingStore>(timing_folder(), subject_of(device_index));
  }
  return *store;
}

}  // namespace stagegate::cuda

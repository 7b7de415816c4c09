#include "device/cuda/autotune.h"

#include <cuda_runtime_api.h>

#include <cstddef>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "device/memory.h"

namespace stagegate::cuda {

namespace {

// Memory to write over, so that the caches hold nothing else; null where none is to be had: a step
// need not fail for that.
std::shared_ptr<Storage> spare_memory(int device_index) {
  int l2_bytes = 0;
  SG_CUDA(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device_index));
  try {
    return stagegate::allocate(2 * static_cast<std::size_t>(l2_bytes),
                               Device{DeviceType::kCUDA, device_index});
  } catch (const OutOfMemoryError&) {
    return nullptr;
  }
}

}  // namespace

StreamClock::StreamClock(Stream& stream)
    : stream_(stream), flushed_(spare_memory(stream.device_index())) {
  const CurrentDevice current(stream.device_index());  // events belong to one
  start_ = create_event();
  stop_ = create_event();
}

std::optional<float> StreamClock::time(const std::function<bool()>& queue) {
  const CurrentDevice current(stream_.device_index());
  const cudaStream_t stream = stream_.handle();
  if (flushed_) SG_CUDA(cudaMemsetAsync(flushed_->data(), 0, flushed_->size_bytes(), stream));
  SG_CUDA(cudaEventRecord(start_, stream));
  if (!queue()) return std::nullopt;
  SG_CUDA(cudaEventRecord(stop_, stream));
  SG_CUDA(cudaEventSynchronize(stop_));
  float milliseconds = 0.0f;
  SG_CUDA(cudaEventElapsedTime(&milliseconds, start_, stop_));
  return milliseconds;
}

bool can_time(const Stream& stream) { return !stream.is_capturing(); }

}  // namespace stagegate::cuda

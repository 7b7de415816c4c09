#include "device/cuda/stream.h"

#include <new>

#include "device/cuda/blas.h"
#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/runtime.h"
#include "device/cuda/spare.h"
#include "device/ledger.h"
#include "device/memory.h"

namespace stagegate::cuda {

Stream::Stream(int device_index)
    : device_index_(device_index),
      fault_(sizeof(Fault), device_index),
      counters_(kMaxCounters * sizeof(unsigned), device_index),
      fetched_fault_(sizeof(Fault)) {
  fill(fault_.data(), device_index, 0, sizeof(Fault));
  fill(counters_.data(), device_index, 0, kMaxCounters * sizeof(unsigned));
  new (fetched_fault_.data()) Fault{};
  const CurrentDevice current(device_index);
  SG_CUDA(
      cudaDeviceGetAttribute(&num_multiprocessors_, cudaDevAttrMultiProcessorCount, device_index));
  int major = 0;
  int minor = 0;
  SG_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_index));
  SG_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_index));
  compute_capability_ = 10 * major + minor;
  own_ = create_stream();
  handle_ = own_;
  blas_ = std::make_unique<Blas>(device_index);
}

Stream::~Stream() {
  // As in release(): at exit nothing can be done about a failure.
  static_cast<void>(cudaStreamSynchronize(handle_));
}

bool Stream::is_capturing() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  SG_CUDA(cudaStreamIsCapturing(handle_, &status));
  return status != cudaStreamCaptureStatusNone;
}

void* Stream::scratch(std::size_t size_bytes) {
  const std::size_t held = scratch_ == nullptr ? 0 : scratch_->size_bytes();
  if (size_bytes > held) {
    SG_CHECK(DeviceError, !is_capturing(), "scratch: ", size_bytes,
             " bytes are wanted while a graph is captured, ", held, " are there");
    // In the order of the stream: what is queued may still use it.
    scratch_.reset();
    allocate_with_spare(size_bytes, 2 * held, [this](std::size_t bytes) {
      scratch_ = stagegate::allocate(bytes, Device{DeviceType::kCUDA, device_index_});
    });
  }
  return scratch_ == nullptr ? nullptr : scratch_->data();
}

unsigned* Stream::counters(std::size_t count) {
  SG_CHECK(DeviceError, count <= kMaxCounters, "counters: ", count, " are wanted, ", kMaxCounters,
           " are there");
  return counters_.data<unsigned>();
}

void Stream::synchronize() {
  fetch_fault(fetched_fault_.data<Fault>());
  SG_CUDA(cudaStreamSynchronize(handle_));
  check(*fetched_fault_.data<Fault>());
}

void Stream::fetch_fault(Fault* pinned) {
  record_copy("fault", Device{DeviceType::kCUDA, device_index_}, Device{}, sizeof(Fault));
  SG_CUDA(cudaMemcpyAsync(pinned, fault_.data(), sizeof(Fault), cudaMemcpyDeviceToHost, handle_));
}

void Stream::check(const Fault& fetched) {
  if (fetched.code == 0) return;
  fill(fault_.data(), device_index_, 0, sizeof(Fault));
  throw ArgumentError(describe(fetched));
}

}  // namespace stagegate::cuda

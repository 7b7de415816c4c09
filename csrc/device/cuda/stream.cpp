#include "device/cuda/stream.h"

#include <new>
#include <utility>

#include "device/cuda/blas.h"
#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/runtime.h"
#include "device/cuda/spare.h"
#include "device/ledger.h"

namespace stagegate::cuda {

Stream::Stream(int device_index) : device_index_(device_index) {
  fault_ = static_cast<Fault*>(allocate(sizeof(Fault), device_index));
  fill(fault_, device_index, 0, sizeof(Fault));
  counters_ = static_cast<unsigned*>(allocate(kMaxCounters * sizeof(unsigned), device_index));
  fill(counters_, device_index, 0, kMaxCounters * sizeof(unsigned));
  fetched_fault_ = static_cast<Fault*>(allocate_pinned(sizeof(Fault)));
  new (fetched_fault_) Fault{};
  const CurrentDevice current(device_index);
  SG_CUDA(
      cudaDeviceGetAttribute(&num_multiprocessors_, cudaDevAttrMultiProcessorCount, device_index));
  SG_CUDA(cudaStreamCreate(&handle_));
  blas_ = std::make_unique<Blas>(device_index);
}

Stream::~Stream() {
  // As in release(): at exit nothing can be done about a failure.
  static_cast<void>(cudaStreamSynchronize(handle_));
  blas_.reset();
  static_cast<void>(cudaStreamDestroy(handle_));
  release(scratch_, device_index_);
  release(counters_, device_index_);
  release(fault_, device_index_);
  release_pinned(fetched_fault_);
}

bool Stream::is_capturing() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  SG_CUDA(cudaStreamIsCapturing(handle_, &status));
  return status != cudaStreamCaptureStatusNone;
}

void* Stream::scratch(std::size_t size_bytes) {
  if (size_bytes <= scratch_bytes_) return scratch_;
  SG_CHECK(DeviceError, !is_capturing(), "scratch: ", size_bytes,
           " bytes are wanted while a graph is captured, ", scratch_bytes_, " are there");
  const std::size_t twice = 2 * std::exchange(scratch_bytes_, 0);
  // In the order of the stream: what is queued may still use it.
  release(std::exchange(scratch_, nullptr), device_index_);
  scratch_bytes_ = allocate_with_spare(
      size_bytes, twice, [this](std::size_t bytes) { scratch_ = allocate(bytes, device_index_); });
  return scratch_;
}

unsigned* Stream::counters(std::size_t count) {
  SG_CHECK(DeviceError, count <= kMaxCounters, "counters: ", count, " are wanted, ", kMaxCounters,
           " are there");
  return counters_;
}

void Stream::synchronize() {
  fetch_fault(fetched_fault_);
  SG_CUDA(cudaStreamSynchronize(handle_));
  check(*fetched_fault_);
}

void Stream::fetch_fault(Fault* pinned) {
  record_copy("fault", Device{DeviceType::kCUDA, device_index_}, Device{}, sizeof(Fault));
  SG_CUDA(cudaMemcpyAsync(pinned, fault_, sizeof(Fault), cudaMemcpyDeviceToHost, handle_));
}

void Stream::check(const Fault& fetched) {
  if (fetched.kind == FaultKind::kNone) return;
  fill(fault_, device_index_, 0, sizeof(Fault));
  throw ArgumentError(describe(fetched));
}

}  // namespace stagegate::cuda

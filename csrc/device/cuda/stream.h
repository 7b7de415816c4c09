#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "core/storage.h"
#include "device/cuda/buffer.h"
#include "device/cuda/handles.h"
#include "device/fault.h"

namespace stagegate::cuda {

class Blas;

// A queue of work on one device with what the kernels in it share: memory for intermediate results,
// the handle of the matrix library, and the place where they report faults. One thread at a time
// may queue. Work on the legacy default stream, as all copies of tensors are, waits for this queue
// and it waits for them.
class Stream {
 public:
  explicit Stream(int device_index);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int device_index() const { return device_index_; }
  cudaStream_t handle() const { return handle_; }
  int num_multiprocessors() const { return num_multiprocessors_; }
  // Ten times the major number of the compute capability and the minor one: 90 on Hopper.
  int compute_capability() const { return compute_capability_; }
  Blas& blas() const { return *blas_; }
  bool is_capturing() const;  // a graph

  // Has what is queued in a block go to another stream of the device.
  class Redirection {
   public:
    Redirection(Stream& stream, cudaStream_t other) : stream_(stream), own_(stream.handle_) {
      stream.handle_ = other;
    }
    ~Redirection() { stream_.handle_ = own_; }
    Redirection(const Redirection&) = delete;
    Redirection& operator=(const Redirection&) = delete;

   private:
    Stream& stream_;
    cudaStream_t own_;
  };

  // At least size_bytes of device memory, 256-byte aligned, uninitialised. It is the same memory
  // for every operator, so it is theirs until the next one is queued. Grows when more is asked for
  // than there is; while a graph is captured that throws DeviceError instead.
  void* scratch(std::size_t size_bytes);
  // The scratch memory itself. A graph that was captured with it holds it, so that growing does not
  // free it. Null before the first call of scratch().
  const std::shared_ptr<Storage>& scratch_storage() const { return scratch_; }

  // `count` counters in device memory, at most kMaxCounters. They are zero, and whoever counts with
  // them leaves them so.
  static constexpr std::size_t kMaxCounters = 4096;
  unsigned* counters(std::size_t count);

  // Where kernels report faults, in memory of the device.
  Fault* fault() const { return fault_.data<Fault>(); }

  // Waits for everything queued. Throws ArgumentError for a fault that a kernel reported and
  // forgets it, DeviceError for a failure of the device.
  void synchronize();
  // The two halves of it for a caller that waits by itself. The first queues a copy to pinned
  // memory of the host, the second looks at it when it has arrived.
  void fetch_fault(Fault* pinned);
  void check(const Fault& fetched);

 private:
  int device_index_;
  int num_multiprocessors_ = 0;
  int compute_capability_ = 0;
  DeviceBuffer fault_;
  DeviceBuffer counters_;
  PinnedBuffer fetched_fault_;
  std::shared_ptr<Storage> scratch_;
  StreamHandle own_;
  cudaStream_t handle_ = nullptr;  // own_, unless there is a redirection
  std::unique_ptr<Blas> blas_;
};

}  // namespace stagegate::cuda

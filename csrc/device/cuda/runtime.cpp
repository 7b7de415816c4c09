#include "device/cuda/runtime.h"

#include <cstdint>
#include <limits>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "device/ledger.h"

namespace stagegate::cuda {

namespace {

void require_device(int index) {
  const int count = device_count();
  SG_CHECK(DeviceError, index >= 0 && index < count, "cuda:", index,
           " is not here: the driver offers ", count, count == 1 ? " device" : " devices",
           " (see nvidia-smi and CUDA_VISIBLE_DEVICES)");
}

// The device's own pool, told once to keep what is released instead of giving it back to the
// driver, which would wait for the device.
cudaMemPool_t pool_of(int index) {
  cudaMemPool_t pool = nullptr;
  SG_CUDA(cudaDeviceGetDefaultMemPool(&pool, index));
  std::uint64_t keep = 0;
  SG_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  if (keep == 0) {
    keep = std::numeric_limits<std::uint64_t>::max();
    SG_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  }
  return pool;
}

}  // namespace

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
    static_cast<void>(cudaGetLastError());
    return 0;
  }
  SG_CUDA(status);
  return count;
}

std::string device_name(int index) {
  require_device(index);
  cudaDeviceProp properties;
  SG_CUDA(cudaGetDeviceProperties(&properties, index));
  return properties.name;
}

MemoryInfo memory_info(int index) {
  require_device(index);
  const CurrentDevice current(index);
  MemoryInfo info{};
  SG_CUDA(cudaMemGetInfo(&info.free_bytes, &info.total_bytes));
  // What the pool holds and nobody uses can be had too.
  std::uint64_t reserved = 0;
  std::uint64_t used = 0;
  SG_CUDA(cudaMemPoolGetAttribute(pool_of(index), cudaMemPoolAttrReservedMemCurrent, &reserved));
  SG_CUDA(cudaMemPoolGetAttribute(pool_of(index), cudaMemPoolAttrUsedMemCurrent, &used));
  info.free_bytes += reserved - used;
  return info;
}

void* allocate(std::size_t size_bytes, int index) {
  require_device(index);
  if (size_bytes == 0) return nullptr;
  const CurrentDevice current(index);
  void* data = nullptr;
  cudaMemPool_t pool = pool_of(index);
  cudaError_t status = cudaMallocFromPoolAsync(&data, size_bytes, pool, nullptr);
  if (status == cudaErrorMemoryAllocation) {
    // What was released may lie in pieces, or be waiting for work that is queued.
    static_cast<void>(cudaGetLastError());
    SG_CUDA(cudaStreamSynchronize(nullptr));
    SG_CUDA(cudaMemPoolTrimTo(pool, 0));
    status = cudaMallocFromPoolAsync(&data, size_bytes, pool, nullptr);
  }
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    const MemoryInfo info = memory_info(index);
    throw OutOfMemoryError(message("allocate: ", size_bytes, " bytes on cuda:", index,
                                   " are not to be had: ", info.free_bytes, " of ",
                                   info.total_bytes,
                                   " are free; end what else uses the device, or "
                                   "lower kv_memory or max_num_batched_tokens"));
  }
  SG_CUDA(status);
  return data;
}

void release(void* data, int index) noexcept {
  // Runs in destructors, at times after the runtime was torn down at exit: nothing can be done
  // about a failure, and a sticky error shows at the next checked call.
  int previous = 0;
  if (data == nullptr || cudaGetDevice(&previous) != cudaSuccess) return;
  if (cudaSetDevice(index) == cudaSuccess) static_cast<void>(cudaFreeAsync(data, nullptr));
  static_cast<void>(cudaSetDevice(previous));
}

void* allocate_pinned(std::size_t size_bytes) {
  void* data = nullptr;
  SG_CUDA(cudaMallocHost(&data, size_bytes));
  return data;
}

void release_pinned(void* data) noexcept { static_cast<void>(cudaFreeHost(data)); }

void copy(std::string_view what, const void* source, Device source_device, void* destination,
          Device destination_device, std::size_t size_bytes) {
  SG_CHECK(DeviceError, source_device.is_cuda() || destination_device.is_cuda(),
           "cuda::copy: from ", source_device.name(), " to ", destination_device.name(),
           " involves no CUDA device");
  if (size_bytes == 0) return;
  const CurrentDevice current(destination_device.is_cuda() ? destination_device.index
                                                           : source_device.index);
  if (source_device.is_cuda() && destination_device.is_cuda()) {
    SG_CUDA(cudaMemcpyPeer(destination, destination_device.index, source, source_device.index,
                           size_bytes));
  } else {
    record_copy(what, source_device, destination_device, size_bytes);
    SG_CUDA(cudaMemcpy(destination, source, size_bytes,
                       source_device.is_cuda() ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice));
  }
  // Neither a copy between devices nor one from pageable memory need have arrived on return.
  SG_CUDA(cudaStreamSynchronize(nullptr));
}

void fill(void* data, int index, int byte, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  const CurrentDevice current(index);
  SG_CUDA(cudaMemsetAsync(data, byte, size_bytes, nullptr));
}

std::shared_ptr<Stream> make_stream(int index) { return std::make_shared<Stream>(index); }

int compute_capability(const Stream& stream) { return stream.compute_capability(); }

int num_multiprocessors(const Stream& stream) { return stream.num_multiprocessors(); }

void synchronize(Stream& stream) { stream.synchronize(); }

}  // namespace stagegate::cuda

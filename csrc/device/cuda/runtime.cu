#include "device/cuda/check.h"
#include "device/cuda/runtime.h"

namespace stagegate::cuda {

namespace {

void require_device(int index) {
  const int count = device_count();
  SG_CHECK(DeviceError, index >= 0 && index < count, "cuda:", index,
           " is not here: the driver offers ", count, count == 1 ? " device" : " devices",
           " (see nvidia-smi and CUDA_VISIBLE_DEVICES)");
}

// The current device belongs to the thread; a call leaves it as it was.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    require_device(index);
    SG_CUDA(cudaGetDevice(&previous_));
    SG_CUDA(cudaSetDevice(index));
  }
  ~CurrentDevice() { static_cast<void>(cudaSetDevice(previous_)); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = 0;
};

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

void* allocate(std::size_t size_bytes, int index) {
  const CurrentDevice current(index);
  if (size_bytes == 0) return nullptr;
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, size_bytes);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    SG_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
    throw OutOfMemoryError(message("allocate: ", size_bytes, " bytes on cuda:", index,
                                   " are not to be had: ", free_bytes, " of ", total_bytes,
                                   " are free"));
  }
  SG_CUDA(status);
  return data;
}

void release(void* data, int index) noexcept {
  // Runs in destructors, at times after the runtime was torn down at exit: nothing can be done
  // about a failure, and a sticky error shows at the next checked call.
  int previous = 0;
  if (cudaGetDevice(&previous) != cudaSuccess) return;
  if (cudaSetDevice(index) == cudaSuccess) static_cast<void>(cudaFree(data));
  static_cast<void>(cudaSetDevice(previous));
}

void copy(const void* source, Device source_device, void* destination, Device destination_device,
          std::size_t size_bytes) {
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
    SG_CUDA(cudaMemcpy(destination, source, size_bytes,
                       source_device.is_cuda() ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice));
  }
  // Neither a copy between devices nor one from pageable memory need have arrived on return.
  SG_CUDA(cudaStreamSynchronize(nullptr));
}

void fill(void* data, int index, int byte, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  const CurrentDevice current(index);
  SG_CUDA(cudaMemset(data, byte, size_bytes));
  SG_CUDA(cudaStreamSynchronize(nullptr));
}

}  // namespace stagegate::cuda

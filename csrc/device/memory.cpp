#include "device/memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "device/cuda/runtime.h"

namespace stagegate {

namespace {

// One cache line, and the widest vector register.
constexpr std::size_t kAlignment = 64;

// Makes a storage of memory that was just allocated. If the storage itself cannot be allocated, the
// memory is released.
std::shared_ptr<Storage> owned(void* data, std::size_t size_bytes, Device device,
                               std::function<void()> release) {
  try {
    return std::make_shared<Storage>(data, size_bytes, device, release);
  } catch (...) {
    release();
    throw;
  }
}

std::shared_ptr<Storage> allocate_cpu(std::size_t size_bytes, Device device) {
  // aligned_alloc wants a whole number of alignments; rounding up must not wrap around.
  const std::size_t rounded = (size_bytes / kAlignment + 1) * kAlignment;
  void* data = rounded > size_bytes ? std::aligned_alloc(kAlignment, rounded) : nullptr;
  SG_CHECK(OutOfMemoryError, data != nullptr, "allocate: ", size_bytes, " bytes on ", device.name(),
           " are not to be had");
  return owned(data, size_bytes, device, [data] { std::free(data); });
}

// MemAvailable of /proc/meminfo (Linux kernel documentation, filesystems/proc).
std::size_t free_host_bytes() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/meminfo", "r"),
                                                             &std::fclose);
  char line[128];
  unsigned long long kilobytes = 0;
  while (file != nullptr && std::fgets(line, sizeof(line), file.get()) != nullptr) {
    if (std::sscanf(line, "MemAvailable: %llu", &kilobytes) == 1) return kilobytes * 1024;
  }
  throw Error("free_bytes: /proc/meminfo has no MemAvailable; set kv_capacity_tokens");
}

}  // namespace

std::shared_ptr<Storage> allocate(std::size_t size_bytes, Device device) {
  if (device.is_cpu()) return allocate_cpu(size_bytes, device);
  if constexpr (cuda::kEnabled) {
    void* data = cuda::allocate(size_bytes, device.index);
    return owned(data, size_bytes, device,
                 [data, index = device.index] { cuda::release(data, index); });
  }
  throw DeviceError(message("allocate: this build has no ", device.name(),
                            "; build with CUDA (nox -s build-cuda)"));
}

std::size_t free_bytes(Device device) {
  if (device.is_cpu()) return free_host_bytes();
  if constexpr (cuda::kEnabled) return cuda::memory_info(device.index).free_bytes;
  throw DeviceError(message("free_bytes: this build has no ", device.name()));
}

Tensor empty(Shape shape, DType dtype, Device device) {
  std::size_t size_bytes = size_of(dtype);
  for (const std::int64_t extent : shape) {
    SG_CHECK(ShapeError, extent >= 0, "empty: negative dimension in ", to_string(shape));
    SG_CHECK(OutOfMemoryError,
             !__builtin_mul_overflow(size_bytes, static_cast<std::size_t>(extent), &size_bytes),
             "empty: ", to_string(shape), " does not fit an address space");
  }
  return Tensor(allocate(size_bytes, device), dtype, std::move(shape));
}

Tensor zeros(Shape shape, DType dtype, Device device) {
  Tensor tensor = empty(std::move(shape), dtype, device);
  if constexpr (cuda::kEnabled) {
    if (device.is_cuda()) {
      cuda::fill(tensor.raw_data(), device.index, 0, tensor.size_bytes());
      return tensor;
    }
  }
  std::memset(tensor.raw_data(), 0, tensor.size_bytes());
  return tensor;
}

}  // namespace stagegate

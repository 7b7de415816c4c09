#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/device.h"
#include "core/tensor.h"

namespace stagegate::cuda {

class Stream;

// Code for CUDA stands in `if constexpr (kEnabled)`: a build without CUDA then refers to nothing
// declared below and needs no second implementation of it.
#ifdef STAGEGATE_CUDA
inline constexpr bool kEnabled = true;
#else
inline constexpr bool kEnabled = false;
#endif

// Likewise for what takes FlashInfer's headers to build.
#ifdef STAGEGATE_FLASHINFER_VERSION
inline constexpr bool kFlashInferEnabled = true;
#else
inline constexpr bool kFlashInferEnabled = false;
#endif

// Devices the driver offers; 0 where there is no driver or no device.
int device_count();
// The product name. Throws DeviceError when there is no device of that index.
std::string device_name(int index);

struct MemoryInfo {
  std::size_t free_bytes;  // what an allocation can still get
  std::size_t total_bytes;
};
MemoryInfo memory_info(int index);

// Memory of one device, at least 256-byte aligned, uninitialised; nullptr for 0 bytes. It comes
// from a pool that keeps what is released, so taking and giving back does not stop the device.
// Throws OutOfMemoryError naming the free and total bytes, DeviceError when the device is absent.
void* allocate(std::size_t size_bytes, int index);
void release(void* data, int index) noexcept;

// Memory of the host that a device copies from and to without a detour. Throws OutOfMemoryError.
void* allocate_pinned(std::size_t size_bytes);
void release_pinned(void* data) noexcept;

// Copies between the host and a device, or between two devices, and returns when the bytes have
// arrived. what: the name it has in a ledger.
void copy(std::string_view what, const void* source, Device source_device, void* destination,
          Device destination_device, std::size_t size_bytes);
// Sets every byte.
void fill(void* data, int index, int byte, std::size_t size_bytes);
// Copies element by element on the device of both: any strides, and any two floating dtypes or
// equal ones.
void copy_strided(const Tensor& source, const Tensor& destination);

std::shared_ptr<Stream> make_stream(int index);
void synchronize(Stream& stream);
// What a Stream says of its device.
int compute_capability(const Stream& stream);
int num_multiprocessors(const Stream& stream);

}  // namespace stagegate::cuda

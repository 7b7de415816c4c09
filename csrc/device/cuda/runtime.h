#pragma once

#include <cstddef>
#include <string>

#include "core/device.h"

namespace stagegate::cuda {

// Code for CUDA stands in `if constexpr (kEnabled)`: a build without CUDA then refers to nothing
// declared below and needs no second implementation of it.
#ifdef STAGEGATE_CUDA
inline constexpr bool kEnabled = true;
#else
inline constexpr bool kEnabled = false;
#endif

// Devices the driver offers; 0 where there is no driver or no device.
int device_count();
// The product name. Throws DeviceError when there is no device of that index.
std::string device_name(int index);

// Memory of one device, at least 256-byte aligned, uninitialised; nullptr for 0 bytes.
// Throws OutOfMemoryError naming the free and total bytes, DeviceError when the device is absent.
void* allocate(std::size_t size_bytes, int index);
void release(void* data, int index) noexcept;

// Copies between the host and a device, or between two devices, and returns when the bytes have
// arrived.
void copy(const void* source, Device source_device, void* destination, Device destination_device,
          std::size_t size_bytes);
// Sets every byte and returns when it is done.
void fill(void* data, int index, int byte, std::size_t size_bytes);

}  // namespace stagegate::cuda

#pragma once

#include <cstddef>
#include <memory>

#include "core/storage.h"
#include "core/tensor.h"

namespace stagegate {

// Uninitialised memory, 64-byte aligned. Throws OutOfMemoryError, or DeviceError when this build or
// machine does not have the device.
std::shared_ptr<Storage> allocate(std::size_t size_bytes, Device device);

// Bytes that allocate could still give: of the host, those it has without swapping.
std::size_t free_bytes(Device device);

Tensor empty(Shape shape, DType dtype, Device device);
Tensor zeros(Shape shape, DType dtype, Device device);

}  // namespace stagegate

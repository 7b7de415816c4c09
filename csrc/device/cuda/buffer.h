#pragma once

#include <cstddef>
#include <utility>

#include "device/cuda/runtime.h"

namespace stagegate::cuda {

// The one owner of memory of a device; see allocate() and release().
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::size_t size_bytes, int device_index)
      : data_(allocate(size_bytes, device_index)), device_index_(device_index) {}
  ~DeviceBuffer() { release(data_, device_index_); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), device_index_(other.device_index_) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(device_index_, other.device_index_);
    return *this;
  }

  template <typename T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  int device_index_ = 0;
};

// The one owner of pinned memory of the host; see allocate_pinned().
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t size_bytes) : data_(allocate_pinned(size_bytes)) {}
  ~PinnedBuffer() {
    if (data_ != nullptr) release_pinned(data_);
  }
  PinnedBuffer(PinnedBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  template <typename T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

}  // namespace stagegate::cuda

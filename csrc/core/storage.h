#pragma once

#include <cstddef>
#include <functional>

#include "core/device.h"

namespace stagegate {

// A span of device memory and the action that gives it back: freeing an allocation, or dropping the
// owner of memory that was only borrowed (a memory-mapped file, a numpy array).
class Storage {
 public:
  Storage(void* data, std::size_t size_bytes, Device device, std::function<void()> release)
      : data_(data), size_bytes_(size_bytes), device_(device), release_(std::move(release)) {}
  ~Storage() {
    if (release_) release_();
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }
  Device device() const { return device_; }

 private:
  void* data_;
  std::size_t size_bytes_;
  Device device_;
  std::function<void()> release_;
};

}  // namespace stagegate

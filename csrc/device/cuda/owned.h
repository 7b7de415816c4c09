#pragma once

#include <utility>

namespace stagegate::cuda {

// Owns a handle that a C library creates and destroys; a null handle owns nothing. An error of the
// destruction is ignored: nothing can be done about it, and at exit the library may already be
// unloaded.
template <typename Handle, auto kDestroy>
class Owned {
 public:
  Owned() = default;
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, Handle{});
    }
    return *this;
  }

  // Where a function of the library puts a new handle.
  Handle* out() {
    reset();
    return &handle_;
  }
  void reset() {
    if (handle_ != Handle{}) static_cast<void>(kDestroy(std::exchange(handle_, Handle{})));
  }
  operator Handle() const { return handle_; }

 private:
  Handle handle_{};
};

}  // namespace stagegate::cuda

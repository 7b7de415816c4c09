#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/scalar.h"
#include "core/storage.h"

namespace stagegate {

using Shape = std::vector<std::int64_t>;

std::string to_string(const Shape& shape);
// Both throw ShapeError when the product of the dimensions overflows.
std::int64_t numel_of(const Shape& shape);
Shape contiguous_strides(const Shape& shape);

// A typed, strided view of a Storage. Copying a Tensor copies the view, never the data. Operations
// here only change the view; whatever allocates or moves data lives in device/.
class Tensor {
 public:
  Tensor() = default;
  // strides and offset in elements. Throws ShapeError when the view does not fit the storage.
  Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape, Shape strides,
         std::int64_t offset);
  // Contiguous view from the start of the storage.
  Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  std::int64_t offset() const { return offset_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  std::int64_t dim(int index) const { return shape_[static_cast<std::size_t>(index)]; }
  std::int64_t stride(int index) const { return strides_[static_cast<std::size_t>(index)]; }
  std::int64_t numel() const { return numel_of(shape_); }
  std::size_t size_bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  bool is_contiguous() const;
  // True when everything but the first dimension is laid out contiguously: rows may be apart, as in
  // a slice of a merged projection.
  bool is_row_contiguous() const;

  void* raw_data() const {
    return static_cast<std::byte*>(storage_->data()) +
           static_cast<std::size_t>(offset_) * size_of(dtype_);
  }
  // Throws DTypeError when T is not the element type.
  template <typename T>
  T* data() const {
    if (dtype_of<T>::value != dtype_) throw_dtype_mismatch(dtype_of<T>::value);
    return static_cast<T*>(raw_data());
  }

  // Same elements under another shape; one dimension may be -1. Throws ShapeError when the counts
  // differ, ContiguityError when the elements are not contiguous.
  Tensor view(Shape shape) const;
  // Elements [start, stop) along one dimension. Throws ArgumentError outside 0 <= start <= stop.
  Tensor slice(int dim, std::int64_t start, std::int64_t stop) const;
  // Dimensions reordered. Throws ArgumentError unless dims is a permutation.
  Tensor permute(const std::vector<int>& dims) const;

  std::string describe() const;  // "bf16[3, 4] on cpu"

 private:
  [[noreturn]] void throw_dtype_mismatch(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  DType dtype_ = DType::kF32;
  Shape shape_;
  Shape strides_;
  std::int64_t offset_ = 0;
};

}  // namespace stagegate

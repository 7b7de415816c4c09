#include "device/copy.h"

#include <cstring>

#include "core/dispatch.h"
#include "device/cuda/runtime.h"
#include "device/memory.h"

namespace stagegate {

namespace {

// Calls fn(source_offset, destination_offset) for every element, in row-major order of the shape.
template <typename Fn>
void for_each_element(const Shape& shape, const Shape& from, const Shape& to, Fn&& fn) {
  const std::int64_t count = numel_of(shape);
  Shape index(shape.size(), 0);
  std::int64_t source = 0;
  std::int64_t destination = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    fn(source, destination);
    for (std::size_t d = shape.size(); d-- > 0;) {
      source += from[d];
      destination += to[d];
      if (++index[d] < shape[d]) break;
      source -= from[d] * shape[d];
      destination -= to[d] * shape[d];
      index[d] = 0;
    }
  }
}

void copy_same_dtype(const Tensor& source, const Tensor& destination) {
  if (source.is_contiguous() && destination.is_contiguous()) {
    std::memcpy(destination.raw_data(), source.raw_data(), source.size_bytes());
    return;
  }
  const std::size_t width = size_of(source.dtype());
  const auto* from = static_cast<const std::byte*>(source.raw_data());
  auto* to = static_cast<std::byte*>(destination.raw_data());
  for_each_element(source.shape(), source.strides(), destination.strides(),
                   [&](std::int64_t i, std::int64_t j) {
                     std::memcpy(to + static_cast<std::size_t>(j) * width,
                                 from + static_cast<std::size_t>(i) * width, width);
                   });
}

template <typename From, typename To>
void convert(const Tensor& source, const Tensor& destination) {
  const From* from = source.data<From>();
  To* to = destination.data<To>();
  if (source.is_contiguous() && destination.is_contiguous()) {
    const std::int64_t count = source.numel();
    for (std::int64_t i = 0; i < count; ++i) store_from_float(to[i], load_as_float(from[i]));
    return;
  }
  for_each_element(
      source.shape(), source.strides(), destination.strides(),
      [&](std::int64_t i, std::int64_t j) { store_from_float(to[j], load_as_float(from[i])); });
}

// A copy that stays on one device may gather and convert; one that crosses moves plain bytes.
void copy_cuda(const Tensor& source, const Tensor& destination) {
  if (source.device() == destination.device()) return cuda::copy_strided(source, destination);
  SG_CHECK(DTypeError, source.dtype() == destination.dtype(), "copy: ", source.describe(), " to ",
           destination.describe(), ": a copy between devices does not convert");
  for (const Tensor* tensor : {&source, &destination}) {
    SG_CHECK(ContiguityError, tensor->is_contiguous(), "copy: ", tensor->describe(),
             " must be contiguous in a copy between devices");
  }
  cuda::copy("tensor", source.raw_data(), source.device(), destination.raw_data(),
             destination.device(), source.size_bytes());
}

}  // namespace

void copy(const Tensor& source, const Tensor& destination) {
  SG_CHECK(ShapeError, source.shape() == destination.shape(), "copy: ", source.describe(),
           " does not fit ", destination.describe());
  for (const Tensor* tensor : {&source, &destination}) {
    if (tensor->device().is_cpu()) continue;
    if constexpr (cuda::kEnabled) return copy_cuda(source, destination);
    throw DeviceError(message("copy: this build has no ", tensor->device().name()));
  }
  if (source.dtype() == destination.dtype()) return copy_same_dtype(source, destination);
  dispatch_floating("copy", source.dtype(), [&](auto from) {
    dispatch_floating("copy", destination.dtype(),
                      [&](auto to) { convert<decltype(from), decltype(to)>(source, destination); });
  });
}

Tensor contiguous(const Tensor& source) {
  if (source.is_contiguous()) return source;
  Tensor result = empty(source.shape(), source.dtype(), source.device());
  copy(source, result);
  return result;
}

Tensor reshape(const Tensor& source, Shape shape) {
  return contiguous(source).view(std::move(shape));
}

Tensor to(const Tensor& source, DType dtype, Device device) {
  if (source.dtype() == dtype && source.device() == device) return source;
  if (source.device() != device) {
    // Plain bytes cross; the side with fewer of them converts.
    if (size_of(dtype) < size_of(source.dtype())) {
      return to(contiguous(to(source, dtype, source.device())), dtype, device);
    }
    const Tensor from = contiguous(source);
    const Tensor there = empty(from.shape(), from.dtype(), device);
    copy(from, there);
    return to(there, dtype, device);
  }
  Tensor result = empty(source.shape(), dtype, device);
  copy(source, result);
  return result;
}

}  // namespace stagegate

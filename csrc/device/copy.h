#pragma once

#include "core/tensor.h"

namespace stagegate {

// Writes source into destination element by element: any strides, any two floating dtypes (or equal
// dtypes). The devices may differ; then both sides must be contiguous and of one dtype. Returns
// when the bytes have arrived, or are in the order of the destination's device. Throws ShapeError
// when the shapes differ, DTypeError for an unsupported conversion.
void copy(const Tensor& source, const Tensor& destination);

// source itself when it is contiguous already, else a contiguous copy.
Tensor contiguous(const Tensor& source);
// A view where possible, else a view of a contiguous copy. One dimension may be -1.
Tensor reshape(const Tensor& source, Shape shape);
// source itself when nothing changes, else a copy with that dtype on that device.
Tensor to(const Tensor& source, DType dtype, Device device);

}  // namespace stagegate

#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out = a + b, element by element, in f32.
//   a, b, out  one float dtype and shape, contiguous; out may be a or b
void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out);

}  // namespace stagegate

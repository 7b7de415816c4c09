#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out[r] = index of the largest element of row r; the lowest index among equals. NaN never wins
// unless the whole row is NaN, which yields 0.
//   x   float [R, V]
//   out i32 [R]
void argmax(const Context& context, const Tensor& x, const Tensor& out);

}  // namespace stagegate

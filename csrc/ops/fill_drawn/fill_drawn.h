#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Fills in tokens that were drawn and that the host has not seen: ids[t] = drawn[rows[t]], where
// rows[t] is not -1.
//   drawn i32 [R]
//   rows  i32 [T]
//   ids   i32 [T], changed in place
// Throws ArgumentError naming the first row outside [-1, R).
void fill_drawn(const Context& context, const Tensor& drawn, const Tensor& rows, const Tensor& ids);

}  // namespace stagegate

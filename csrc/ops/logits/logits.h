#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "ops/linear/linear_weight.h"

namespace stagegate {

// After the last layer: final norm and head, of the rows that somebody asked for.
//   residual float [T, H]
//   indices  i32 [R], rows of residual, in [0, T)
//   norm     same dtype [H]
//   head     same dtype [V, H]
//   rows     same dtype [R, H]: workspace
//   out      f32 [R, V]
// Throws ArgumentError naming the first index out of range.
void logits(const Context& context, const Tensor& residual, const Tensor& indices,
            const Tensor& norm, float eps, const LinearWeight& head, const Tensor& rows,
            const Tensor& out);

}  // namespace stagegate

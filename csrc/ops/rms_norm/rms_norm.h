#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out = x / sqrt(mean(x²) + eps) · weight over the last dimension, in f32 (Zhang and Sennrich,
// 2019).
//   x      float [T, H] or [T, heads, H], where each head has a norm of its own; rows may be
//   strided weight same dtype [H] out    same dtype and shape as x, rows may be strided; may be x
void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out);

}  // namespace stagegate

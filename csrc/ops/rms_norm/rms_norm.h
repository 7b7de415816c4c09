#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out = x / sqrt(mean(x²) + eps) · weight, per row, in f32 (Zhang and Sennrich, 2019).
//   x      float [T, H]
//   weight same dtype [H]
//   out    same dtype [T, H]; may be x
void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out);

}  // namespace stagegate

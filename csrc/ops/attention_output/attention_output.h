#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "ops/add_rms_norm/add_rms_norm.h"
#include "ops/linear/linear_weight.h"

namespace stagegate {

// Third block of a layer: residual += attention · oᵀ. The product is rounded to the dtype before
// it is added.
//   attention float [T, heads, head_dim]
//   o         same dtype [H, heads · head_dim]
//   projected same dtype [T, H]: workspace
//   residual  same dtype [T, H], added to in place
//   next      same dtype: a norm of the new residual, where the next block is to find it
void attention_output(const Context& context, const Tensor& attention, const LinearWeight& o,
                      const Tensor& projected, const Tensor& residual, const NextNorm& next = {});

}  // namespace stagegate

#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "ops/add_rms_norm/add_rms_norm.h"
#include "ops/linear/linear_weight.h"

namespace stagegate {

// Last block of a layer: residual += activated · downᵀ. The product is rounded to the dtype before
// it is added.
//   activated float [T, I]
//   down      same dtype [H, I]
//   projected same dtype [T, H]: workspace
//   residual  same dtype [T, H], added to in place
//   next      same dtype: a norm of the new residual, where the next block is to find it
void mlp_output(const Context& context, const Tensor& activated, const LinearWeight& down,
                const Tensor& projected, const Tensor& residual, const NextNorm& next = {});

}  // namespace stagegate

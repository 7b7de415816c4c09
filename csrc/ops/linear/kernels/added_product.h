#pragma once

#include "device/context.h"
#include "ops/linear/linear_weight.h"

namespace stagegate::cuda::narrow {

// residual [T, N] += x [T, K] · weightᵀ for up to 16 rows; the product and the bias are rounded to
// the dtype before they are added. Always summed in one order. x: contiguous.
void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual);

}  // namespace stagegate::cuda::narrow

#pragma once

#include "device/context.h"
#include "ops/linear/linear_weight.h"

namespace stagegate::cuda::wide {

// residual [T, N] += x [T, K] · weightᵀ for a batch that wide::traits() takes; the product and the
// bias are rounded to the dtype before they are added. Always summed in one order. x: contiguous.
void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual);

}  // namespace stagegate::cuda::wide

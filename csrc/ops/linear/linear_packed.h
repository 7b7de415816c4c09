#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cpu {

// linear of bf16 on the matrix unit that context.instruction_set has; none of the dimensions is 0.
void linear_packed(const Context& context, const Tensor& x, const Tensor& weight,
                   const Tensor& bias, const Tensor& out);

}  // namespace stagegate::cpu

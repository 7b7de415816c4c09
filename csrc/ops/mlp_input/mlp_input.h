#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "ops/linear/linear_weight.h"

namespace stagegate {

// Fourth block of a layer: norm, projection to gate and up, and SwiGLU.
//   residual  float [T, H]
//   norm      same dtype [H]; undefined where the block before has normed
//   gate_up   same dtype [2 · I, H]: gate, then up
//   normed    same dtype [T, H]: workspace; without norm the normed residual, an operand
//   projected same dtype [T, 2 · I]: workspace
//   activated same dtype [T, I]: the result, silu(gate) · up
void mlp_input(const Context& context, const Tensor& residual, const Tensor& norm, float eps,
               const LinearWeight& gate_up, const Tensor& normed, const Tensor& projected,
               const Tensor& activated);

}  // namespace stagegate

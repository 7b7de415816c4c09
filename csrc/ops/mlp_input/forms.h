#pragma once

#include <span>

#include "ops/block_form.h"
#include "ops/mlp_input/mlp_input.h"

namespace stagegate {

// The operands of mlp_input, after its checks.
struct MlpInputCall {
  const Tensor& residual;
  const Tensor& norm;
  float eps;
  const LinearWeight& gate_up;
  const Tensor& normed;
  const Tensor& projected;
  const Tensor& activated;

  // The same operands, which may be written any number of times.
  MlpInputCall rehearsal() const { return *this; }
};

// In order of preference where the time cannot be measured.
std::span<const BlockForm<MlpInputCall>> mlp_input_forms();
// Of the block without its norm: projection and SwiGLU of the rows in `normed`.
std::span<const BlockForm<MlpInputCall>> gated_linear_forms();
// The same of the primitive operators.
void compose_gated_linear(const Context& context, const MlpInputCall& call);

namespace cuda {

// Up to 16 rows on Hopper, in one kernel that reads the weight at the speed of memory.
void mlp_input_narrow(const Context& context, const MlpInputCall& call);
// 17 to 64 rows on Hopper, in one kernel on the tensor cores.
void mlp_input_wide(const Context& context, const MlpInputCall& call);

// More rows on Hopper: SwiGLU in the registers of the product, so that gate and up are not written.
void gated_linear_tiled(const Context& context, const MlpInputCall& call);

}  // namespace cuda

BlockProblem describe(const Context& context, const MlpInputCall& call);

}  // namespace stagegate

#pragma once

#include <span>

#include "ops/block_form.h"
#include "ops/mlp_output/mlp_output.h"

namespace stagegate {

// The operands of mlp_output, after its checks.
struct MlpOutputCall {
  const Tensor& activated;
  const LinearWeight& down;
  const Tensor& projected;
  const Tensor& residual;

  // Operands that may be added to any number of times.
  MlpOutputCall rehearsal() const { return {activated, down, projected, projected}; }
};

// In order of preference where the time cannot be measured.
std::span<const BlockForm<MlpOutputCall>> mlp_output_forms();

namespace cuda {

// Up to 16 rows on Hopper, in one kernel that reads the weight at the speed of memory.
void mlp_output_narrow(const Context& context, const MlpOutputCall& call);
// 17 to 64 rows on Hopper, in one kernel on the tensor cores.
void mlp_output_wide(const Context& context, const MlpOutputCall& call);

}  // namespace cuda

BlockProblem describe(const Context& context, const MlpOutputCall& call);

}  // namespace stagegate

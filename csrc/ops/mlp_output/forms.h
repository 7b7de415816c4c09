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

BlockProblem describe(const Context& context, const MlpOutputCall& call);

}  // namespace stagegate

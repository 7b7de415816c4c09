#pragma once

#include <span>

#include "ops/attention_output/attention_output.h"
#include "ops/block_form.h"

namespace stagegate {

// The operands of attention_output, after its checks.
struct AttentionOutputCall {
  const Tensor& attention;
  const LinearWeight& o;
  const Tensor& projected;
  const Tensor& residual;

  // Operands that may be added to any number of times.
  AttentionOutputCall rehearsal() const { return {attention, o, projected, projected}; }
};

// In order of preference where the time cannot be measured.
std::span<const BlockForm<AttentionOutputCall>> attention_output_forms();

namespace cuda {

// Up to 16 rows on Hopper, in one kernel that reads the weight at the speed of memory.
void attention_output_narrow(const Context& context, const AttentionOutputCall& call);
// 17 to 64 rows on Hopper, in one kernel on the tensor cores.
void attention_output_wide(const Context& context, const AttentionOutputCall& call);

}  // namespace cuda

BlockProblem describe(const Context& context, const AttentionOutputCall& call);

}  // namespace stagegate

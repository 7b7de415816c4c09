#pragma once

#include <span>

#include "ops/attention_input/attention_input.h"
#include "ops/block_form.h"

namespace stagegate {

// The operands of attention_input, after its checks.
struct AttentionInputCall {
  const Tensor& residual;
  const AttentionInputWeights& weights;
  float eps;
  const Tensor& positions;
  const RopeTable& rope_table;
  const Tensor& slot_mapping;
  const KvLayer& kv;
  const Tensor& normed;
  const Tensor& qkv;

  // The same operands, which may be written any number of times.
  AttentionInputCall rehearsal() const { return *this; }
};

// In order of preference where the time cannot be measured.
std::span<const BlockForm<AttentionInputCall>> attention_input_forms();

namespace cuda {

// Up to 16 rows on Hopper, in one kernel that reads the weight at the speed of memory.
void attention_input_narrow(const Context& context, const AttentionInputCall& call);
// 17 to 64 rows on Hopper, in one kernel on the tensor cores.
void attention_input_wide(const Context& context, const AttentionInputCall& call);

}  // namespace cuda

BlockProblem describe(const Context& context, const AttentionInputCall& call);

}  // namespace stagegate

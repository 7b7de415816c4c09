#include "ops/attention_input/forms.h"

#include "ops/linear/kernels/narrow_form.h"
#include "ops/linear/kernels/wide_form.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<AttentionInputCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_input_narrow;
  return nullptr;
}();
constexpr Run kWide = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_input_wide;
  return nullptr;
}();

bool fits(const BlockProblem& p) {
  return narrow::fits_normed(p) && p.head_dim % narrow::kTileRows == 0 && !p.has_head_norms;
}

bool fits_wide(const BlockProblem& p) { return wide::fits_heads(p); }

constexpr BlockForm<AttentionInputCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
    {.traits = wide::traits(&fits_wide), .run = kWide},
};

}  // namespace

std::span<const BlockForm<AttentionInputCall>> attention_input_forms() { return kForms; }

BlockProblem describe(const Context& context, const AttentionInputCall& call) {
  BlockProblem problem = describe_block(
      context, call.residual, call.weights.qkv.data,
      block_alignment({&call.residual, &call.weights.norm, &call.weights.qkv.data,
                       &call.weights.qkv.bias, &call.weights.q_norm, &call.weights.k_norm,
                       &call.rope_table.cos, &call.rope_table.sin, &call.kv.keys, &call.kv.values,
                       &call.normed, &call.qkv}));
  problem.head_dim = call.qkv.dim(2);
  problem.has_head_norms = call.weights.q_norm.defined();
  return problem;
}

}  // namespace stagegate

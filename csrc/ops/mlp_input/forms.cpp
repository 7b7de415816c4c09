#include "ops/mlp_input/forms.h"

#include "ops/linear/kernels/narrow_form.h"
#include "ops/linear/kernels/wide_form.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<MlpInputCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_input_narrow;
  return nullptr;
}();
constexpr Run kWide = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_input_wide;
  return nullptr;
}();

bool fits(const BlockProblem& p) { return narrow::fits_normed(p); }

bool fits_wide(const BlockProblem& p) { return wide::fits_gated(p); }

constexpr BlockForm<MlpInputCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
    {.traits = wide::traits(&fits_wide), .run = kWide},
};

}  // namespace

std::span<const BlockForm<MlpInputCall>> mlp_input_forms() { return kForms; }

BlockProblem describe(const Context& context, const MlpInputCall& call) {
  return describe_block(
      context, call.residual, call.gate_up.data,
      block_alignment({&call.residual, &call.norm, &call.gate_up.data, &call.gate_up.bias,
                       &call.normed, &call.projected, &call.activated}));
}

}  // namespace stagegate

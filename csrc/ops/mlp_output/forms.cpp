#include "ops/mlp_output/forms.h"

#include "ops/linear/kernels/narrow_form.h"
#include "ops/linear/kernels/wide_form.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<MlpOutputCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_output_narrow;
  return nullptr;
}();
constexpr Run kWide = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_output_wide;
  return nullptr;
}();

bool fits(const BlockProblem& p) { return narrow::fits_added(p); }

bool fits_wide(const BlockProblem& p) { return wide::fits_added(p); }

constexpr BlockForm<MlpOutputCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
    {.traits = wide::traits(&fits_wide), .run = kWide},
};

}  // namespace

std::span<const BlockForm<MlpOutputCall>> mlp_output_forms() { return kForms; }

BlockProblem describe(const Context& context, const MlpOutputCall& call) {
  return describe_block(context, call.residual, call.down.data,
                        block_alignment({&call.activated, &call.down.data, &call.down.bias,
                                         &call.projected, &call.residual}));
}

}  // namespace stagegate

#include "ops/attention_output/forms.h"

#include "ops/linear/kernels/narrow_form.h"
#include "ops/linear/kernels/wide_form.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<AttentionOutputCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_output_narrow;
  return nullptr;
}();
constexpr Run kWide = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_output_wide;
  return nullptr;
}();

bool fits(const BlockProblem& p) { return narrow::fits_added(p); }

bool fits_wide(const BlockProblem& p) { return wide::fits_added(p); }

constexpr BlockForm<AttentionOutputCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
    {.traits = wide::traits(&fits_wide), .run = kWide},
};

}  // namespace

std::span<const BlockForm<AttentionOutputCall>> attention_output_forms() { return kForms; }

BlockProblem describe(const Context& context, const AttentionOutputCall& call) {
  return describe_block(context, call.residual, call.o.data,
                        block_alignment({&call.attention, &call.o.data, &call.o.bias,
                                         &call.projected, &call.residual}));
}

}  // namespace stagegate

#include "ops/logits/forms.h"

#include "ops/linear/kernels/narrow_form.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<LogitsCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::logits_narrow;
  return nullptr;
}();

bool fits(const BlockProblem& p) { return narrow::fits_normed(p); }

constexpr BlockForm<LogitsCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
};

}  // namespace

std::span<const BlockForm<LogitsCall>> logits_forms() { return kForms; }

BlockProblem describe(const Context& context, const LogitsCall& call) {
  // The rows that go through the head.
  return describe_block(context, call.rows, call.head.data,
                        block_alignment({&call.residual, &call.norm, &call.head.data,
                                         &call.head.bias, &call.rows, &call.out}));
}

}  // namespace stagegate

#include "ops/logits/forms.h"

namespace stagegate {

std::span<const BlockForm<LogitsCall>> logits_forms() { return {}; }

BlockProblem describe(const Context& context, const LogitsCall& call) {
  // The rows that go through the head.
  return describe_block(context, call.rows, call.head.data,
                        block_alignment({&call.residual, &call.norm, &call.head.data,
                                         &call.head.bias, &call.rows, &call.out}));
}

}  // namespace stagegate

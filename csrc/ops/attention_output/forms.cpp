#include "ops/attention_output/forms.h"

namespace stagegate {

std::span<const BlockForm<AttentionOutputCall>> attention_output_forms() { return {}; }

BlockProblem describe(const Context& context, const AttentionOutputCall& call) {
  return describe_block(context, call.residual, call.o.data,
                        block_alignment({&call.attention, &call.o.data, &call.o.bias,
                                         &call.projected, &call.residual}));
}

}  // namespace stagegate

#include "ops/mlp_output/forms.h"

namespace stagegate {

std::span<const BlockForm<MlpOutputCall>> mlp_output_forms() { return {}; }

BlockProblem describe(const Context& context, const MlpOutputCall& call) {
  return describe_block(context, call.residual, call.down.data,
                        block_alignment({&call.activated, &call.down.data, &call.down.bias,
                                         &call.projected, &call.residual}));
}

}  // namespace stagegate

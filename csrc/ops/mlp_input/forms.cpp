#include "ops/mlp_input/forms.h"

namespace stagegate {

std::span<const BlockForm<MlpInputCall>> mlp_input_forms() { return {}; }

BlockProblem describe(const Context& context, const MlpInputCall& call) {
  return describe_block(
      context, call.residual, call.gate_up.data,
      block_alignment({&call.residual, &call.norm, &call.gate_up.data, &call.gate_up.bias,
                       &call.normed, &call.projected, &call.activated}));
}

}  // namespace stagegate

#include "ops/linear/kernels/wide_added.h"
#include "ops/mlp_output/forms.h"

namespace stagegate::cuda {

void mlp_output_wide(const Context& context, const MlpOutputCall& call) {
  wide::add_product(context, call.activated, call.down, call.residual);
}

}  // namespace stagegate::cuda

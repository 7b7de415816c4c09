#include "ops/linear/kernels/added_product.h"
#include "ops/mlp_output/forms.h"

namespace stagegate::cuda {

void mlp_output_narrow(const Context& context, const MlpOutputCall& call) {
  narrow::add_product(context, call.activated, call.down, call.residual);
}

}  // namespace stagegate::cuda

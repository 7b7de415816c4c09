#include "ops/attention_output/forms.h"
#include "ops/linear/kernels/added_product.h"

namespace stagegate::cuda {

void attention_output_narrow(const Context& context, const AttentionOutputCall& call) {
  narrow::add_product(context, call.attention, call.o, call.residual);
}

}  // namespace stagegate::cuda

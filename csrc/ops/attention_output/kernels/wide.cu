#include "ops/attention_output/forms.h"
#include "ops/linear/kernels/wide_added.h"

namespace stagegate::cuda {

void attention_output_wide(const Context& context, const AttentionOutputCall& call) {
  wide::add_product(context, call.attention, call.o, call.residual);
}

}  // namespace stagegate::cuda

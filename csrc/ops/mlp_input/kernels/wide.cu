#include "ops/linear/kernels/wide_launch.cuh"
#include "ops/mlp_input/forms.h"
#include "ops/mlp_input/kernels/wide_swiglu.cuh"

namespace stagegate::cuda {

void mlp_input_wide(const Context& context, const MlpInputCall& call) {
  using stagegate::wide::kFewGatedGroups;
  using stagegate::wide::kManyGatedGroups;
  const int groups = stagegate::wide::gated_groups_of(call.gate_up.data.dim(0),
                                                      context.stream->num_multiprocessors());
  const wide::Product product{.weight = call.gate_up.data,
                              .parts = 2,
                              .x = call.residual,
                              .norm = call.norm.raw_data(),
                              .eps = call.eps,
                              .splits = 1};
  dispatch_device("mlp_input", call.residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const Tensor& bias = call.gate_up.bias;
      const wide::SwiGlu<T> epilogue{.activated = output<T>(call.activated),
                                     .bias = bias.defined() ? input<T>(bias) : nullptr,
                                     .width = static_cast<int>(call.activated.dim(1))};
      if (groups == kFewGatedGroups) {
        wide::launch_product<T, kFewGatedGroups, true, false>(context, product, epilogue);
      } else {
        wide::launch_product<T, kManyGatedGroups, true, false>(context, product, epilogue);
      }
    }
  });
}

}  // namespace stagegate::cuda

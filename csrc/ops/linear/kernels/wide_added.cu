#include "ops/linear/kernels/wide_added.cuh"
#include "ops/linear/kernels/wide_added.h"
#include "ops/linear/kernels/wide_launch.cuh"

namespace stagegate::cuda::wide {

void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual) {
  using stagegate::wide::kAddedGroups;
  const Product product{
      .weight = weight.data,
      .parts = 1,
      .x = x,
      .norm = nullptr,
      .eps = 0.0f,
      .splits = stagegate::wide::splits_of(weight.data.dim(0), weight.data.dim(1), kAddedGroups,
                                           context.stream->num_multiprocessors())};
  dispatch_device("linear", residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const AddTo<T> epilogue{.residual = output<T>(residual),
                              .bias = weight.bias.defined() ? input<T>(weight.bias) : nullptr,
                              .width = static_cast<int>(residual.dim(1))};
      launch_product<T, kAddedGroups, false, true>(context, product, epilogue);
    }
  });
}

}  // namespace stagegate::cuda::wide

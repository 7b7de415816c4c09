#include <algorithm>
#include <type_traits>

#include "device/cuda/launch.h"
#include "device/cuda/tensor_map.h"
#include "ops/mlp_input/forms.h"
#include "ops/mlp_input/kernels/tiled_kernel.cuh"

namespace stagegate::cuda {

namespace {

template <typename T, int kColumns>
void launch_tiled(const Context& context, const MlpInputCall& call) {
  using Tile = tiled::Tile<T, kColumns>;
  const Tensor& rows = call.normed;
  const Tensor& weight = call.gate_up.data;
  const Tensor& out = call.activated;
  const Tensor& bias = call.gate_up.bias;
  const std::int64_t depth = rows.dim(1);
  const std::int64_t width = out.dim(1);
  const tiled::Operands<T> operands{
      .rows = make_tensor_map(rows.raw_data(), rows.dtype(),
                              {{depth, 1, tiled::kDepth}, {rows.dim(0), depth, tiled::kTileRows}}),
      .weight = make_tensor_map(weight.raw_data(), weight.dtype(),
                                {{depth, 1, tiled::kDepth}, {2 * width, depth, kColumns}}),
      .out = make_tensor_map(out.raw_data(), out.dtype(),
                             {{width, 1, Tile::kBox}, {rows.dim(0), width, tiled::kPartRows}},
                             Tile::kSwizzle),
      .bias = bias.defined() ? input<T>(bias) : nullptr,
      .count = static_cast<int>(rows.dim(0)),
      .width = static_cast<int>(width),
      .depth_steps = static_cast<int>(ceil_div(depth, tiled::kDepth)),
      .row_tiles = static_cast<int>(ceil_div(rows.dim(0), tiled::kTileRows)),
      .column_tiles = static_cast<int>(ceil_div(width, kColumns))};
  const int blocks =
      std::min(operands.row_tiles * operands.column_tiles, context.stream->num_multiprocessors());
  launch_chained(tiled::tiled_kernel<T, Tile>, dim3(static_cast<unsigned>(blocks)),
                 dim3(tiled::kThreads), sizeof(typename Tile::Shared), context, operands);
}

// Calls fn with the columns of a tile as a constant.
template <typename Fn>
void dispatch_columns(int columns, Fn&& fn) {
  switch (columns) {
    case 96:
      return fn(std::integral_constant<int, 96>{});
    case 80:
      return fn(std::integral_constant<int, 80>{});
    case 72:
      return fn(std::integral_constant<int, 72>{});
    default:
      return fn(std::integral_constant<int, 64>{});
  }
}

}  // namespace

void gated_linear_tiled(const Context& context, const MlpInputCall& call) {
  const int columns = stagegate::tiled::columns_of(call.normed.dim(0), call.activated.dim(1),
                                                   context.stream->num_multiprocessors());
  dispatch_device("gated_linear", call.normed.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      dispatch_columns(columns, [&](auto constant) {
        launch_tiled<T, decltype(constant)::value>(context, call);
      });
    }
  });
}

}  // namespace stagegate::cuda

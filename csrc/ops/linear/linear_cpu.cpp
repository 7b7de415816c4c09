#include <algorithm>

#include "core/dispatch.h"
#include "ops/linear/linear_onednn.h"
#include "ops/linear/linear_packed.h"
#include "ops/parallel.h"
#include "ops/simd/kernels.h"

namespace stagegate::cpu {

namespace {

// From this many rows on, packing the operands pays and oneDNN wins (measured in bf16 without AMX,
// two cores).
constexpr std::int64_t kManyRows = 16;

// Columns of a work item are whole register tiles.
constexpr std::int64_t kColumnTile = 8;

}  // namespace

void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out) {
  const std::int64_t rows = x.dim(0);
  const std::int64_t width = weight.dim(0);
  if (rows == 0 || width == 0) return;
  const bool has_depth = x.dim(1) > 0;
  const simd::Kernels& kernels = simd::kernels(context.instruction_set);
  if (x.dtype() == DType::kBF16 && has_depth && kernels.linear_packed != nullptr) {
    return linear_packed(context, x, weight, bias, out);
  }
  if (rows >= kManyRows && has_depth && !context.deterministic &&
      linear_onednn(context, x, weight, bias, out)) {
    return;
  }
  dispatch_floating("linear", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t tiles = (width + kColumnTile - 1) / kColumnTile;
    const std::int64_t workers = std::min<std::int64_t>(context.num_threads, tiles);
    parallel_for(workers, context.num_threads, [&](std::int64_t worker) {
      kernels.linear(simd::LinearBlock<T>{
          .x = x.data<T>(),
          .x_stride = x.stride(0),
          .weight = weight.data<T>(),
          .bias = bias.defined() ? bias.data<T>() : nullptr,
          .out = out.raw_data(),
          .out_stride = width,
          .out_is_float = out.dtype() == DType::kF32,
          .rows = rows,
          .depth = x.dim(1),
          .first = std::min(tiles * worker / workers * kColumnTile, width),
          .last = std::min(tiles * (worker + 1) / workers * kColumnTile, width),
      });
    });
  });
}

}  // namespace stagegate::cpu

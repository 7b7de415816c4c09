#include <algorithm>

#include "core/dispatch.h"
#include "ops/linear/kernels/isa.h"
#include "ops/linear/kernels/kernels.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

namespace {

// Columns of a work item are whole register tiles.
constexpr std::int64_t kColumnTile = 8;

}  // namespace

bool linear_simd(const Context& context, const LinearProblem& problem,
                 const LinearOperands& operands) {
  const auto& [x, weight, bias, out] = operands;
  const std::int64_t width = problem.width;
  const auto& kernels = simd::kernels<simd::LinearKernels>(context.instruction_set);
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
          .rows = problem.rows,
          .depth = problem.depth,
          .first = std::min(tiles * worker / workers * kColumnTile, width),
          .last = std::min(tiles * (worker + 1) / workers * kColumnTile, width),
      });
    });
  });
  return true;
}

}  // namespace stagegate::cpu

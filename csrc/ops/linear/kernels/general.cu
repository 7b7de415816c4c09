#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/linear/kernels/kernels.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// A warp an element.
template <typename T, typename Out>
__global__ void linear_kernel(const T* x, std::int64_t x_stride, const T* weight, const T* bias,
                              Out* out, std::int64_t rows, std::int64_t width, std::int64_t depth) {
  const int lane = threadIdx.x % kWarp;
  const std::int64_t element =
      (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (element >= rows * width) return;
  const std::int64_t row = element / width;
  const std::int64_t column = element % width;
  float sum = 0.0f;
  for (std::int64_t i = lane; i < depth; i += kWarp) {
    sum += to_float(x[row * x_stride + i]) * to_float(weight[column * depth + i]);
  }
  sum = warp_sum(sum);
  if (lane != 0) return;
  if (bias != nullptr) sum += to_float(bias[column]);
  out[element] = from_float<Out>(sum);
}

}  // namespace

bool linear_general(const Context& context, const LinearProblem& problem,
                    const LinearOperands& operands) {
  const unsigned blocks = ceil_div(problem.rows * problem.width * kWarp, kThreads);
  dispatch_device("linear", problem.dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto run = [&](auto out_tag) {
      using Out = decltype(out_tag);
      launch(linear_kernel<T, Out>, blocks, kThreads, 0, context, input<T>(operands.x),
             problem.x_stride, input<T>(operands.weight),
             problem.has_bias ? input<T>(operands.bias) : nullptr, output<Out>(operands.out),
             problem.rows, problem.width, problem.depth);
    };
    if (problem.out_dtype == DType::kF32) {
      run(float{});
    } else {
      run(T{});
    }
  });
  return true;
}

}  // namespace stagegate::cuda

#include <cstdint>

#include "device/cuda/blas.h"
#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/linear/kernels/kernels.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

template <typename Out, typename T>
__global__ void add_bias_kernel(Out* out, const T* bias, std::int64_t count, std::int64_t width) {
  const auto i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) out[i] = from_float<Out>(to_float(out[i]) + to_float(bias[i % width]));
}

void add_bias(const Context& context, const LinearProblem& problem,
              const LinearOperands& operands) {
  const std::int64_t count = problem.rows * problem.width;
  dispatch_device("linear", problem.dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto run = [&](auto out_tag) {
      using Out = decltype(out_tag);
      launch(add_bias_kernel<Out, T>, ceil_div(count, kThreads), kThreads, 0, context,
             output<Out>(operands.out), input<T>(operands.bias), count, problem.width);
    };
    if (problem.out_dtype == DType::kF32) {
      run(float{});
    } else {
      run(T{});
    }
  });
}

}  // namespace

bool linear_cublaslt(const Context& context, const LinearProblem& problem,
                     const LinearOperands& operands) {
  // The library adds a bias of the result's own dtype only. How it may load one is no part of the
  // problem it chooses an algorithm for, so a bias between boundaries is not left to it.
  const bool fused_bias = problem.has_bias && problem.out_dtype == problem.dtype &&
                          problem.bias_alignment == kLinearAlignment;
  const Blas::Problem product{.rows = problem.rows,
                              .width = problem.width,
                              .depth = problem.depth,
                              .x_stride = problem.x_stride,
                              .dtype = problem.dtype,
                              .out_dtype = problem.out_dtype,
                              .has_bias = fused_bias,
                              .deterministic = problem.deterministic,
                              .alignment = problem.alignment};
  const bool done = context.stream->blas().matmul(
      *context.stream, product, operands.x.raw_data(), operands.weight.raw_data(),
      fused_bias ? operands.bias.raw_data() : nullptr, operands.out.raw_data());
  if (done && problem.has_bias && !fused_bias) add_bias(context, problem, operands);
  return done;
}

}  // namespace stagegate::cuda

#include <algorithm>
#include <cstdint>

#include "device/cuda/blas.h"
#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// A warp an element: what the library has no algorithm for, such as no depth at all, or none that
// rounds once.
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

template <typename Out, typename T>
__global__ void add_bias_kernel(Out* out, const T* bias, std::int64_t count, std::int64_t width) {
  const auto i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) out[i] = from_float<Out>(to_float(out[i]) + to_float(bias[i % width]));
}

// Bytes that the library's fast kernels load at a time.
constexpr std::uint32_t kLibraryAlignment = 16;

// The largest power of two, up to kLibraryAlignment, that every address and step is a multiple of.
std::uint32_t common_alignment(std::initializer_list<std::uintptr_t> values) {
  std::uintptr_t bits = kLibraryAlignment;
  for (const std::uintptr_t value : values) bits |= value;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

std::uint32_t alignment_of(const Tensor& x, std::int64_t x_stride, const Tensor& weight,
                           const Tensor& out) {
  const auto address = [](const Tensor& tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor.raw_data());
  };
  const auto step = [](const Tensor& tensor, std::int64_t elements) {
    return static_cast<std::uintptr_t>(elements) * size_of(tensor.dtype());
  };
  return common_alignment({address(x), address(weight), address(out), step(x, x_stride),
                           step(weight, weight.dim(1)), step(out, out.dim(1))});
}

}  // namespace

void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out) {
  const std::int64_t rows = x.dim(0);
  const std::int64_t width = weight.dim(0);
  const std::int64_t depth = weight.dim(1);
  if (rows == 0 || width == 0) return;
  // One row may have any stride, and the library takes none below the depth. A longer one stays, so
  // that a row has the alignment, and with it the kernel, that it has among others.
  const std::int64_t x_stride = rows == 1 ? std::max(depth, x.stride(0)) : x.stride(0);
  // The library adds a bias of the result's own dtype only. How it may load one is no part of the
  // problem it chooses an algorithm for, so a bias between boundaries is not left to it.
  const bool same_dtype = bias.defined() && out.dtype() == x.dtype();
  const bool fused_bias = same_dtype && all_aligned({bias.raw_data()}, kLibraryAlignment);
  const Blas::Problem problem{.rows = rows,
                              .width = width,
                              .depth = depth,
                              .x_stride = x_stride,
                              .dtype = x.dtype(),
                              .out_dtype = out.dtype(),
                              .has_bias = fused_bias,
                              .deterministic = context.deterministic,
                              .alignment = alignment_of(x, x_stride, weight, out)};
  // The library's kernels for rows that begin between 16-byte boundaries round the product to 16
  // bits and then add the bias, as adding it apart would. No model has such operands, so a slower
  // kernel for them costs nothing.
  const bool rounds_twice = same_dtype && out.dtype() != DType::kF32 &&
                            (!fused_bias || problem.alignment < kLibraryAlignment);
  const bool done =
      depth > 0 && !rounds_twice &&
      context.stream->blas().matmul(*context.stream, problem, x.raw_data(), weight.raw_data(),
                                    fused_bias ? bias.raw_data() : nullptr, out.raw_data());
  if (done && (fused_bias || !bias.defined())) return;
  dispatch_device("linear", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const T* bias_data = bias.defined() ? input<T>(bias) : nullptr;
    const auto finish = [&](auto out_tag) {
      using Out = decltype(out_tag);
      if (done) {
        launch(add_bias_kernel<Out, T>, ceil_div(rows * width, kThreads), kThreads, 0, context,
               output<Out>(out), bias_data, rows * width, width);
      } else {
        launch(linear_kernel<T, Out>, ceil_div(rows * width * kWarp, kThreads), kThreads, 0,
               context, input<T>(x), x_stride, input<T>(weight), bias_data, output<Out>(out), rows,
               width, depth);
      }
    };
    if (out.dtype() == DType::kF32) {
      finish(float{});
    } else {
      finish(T{});
    }
  });
}

}  // namespace stagegate::cuda

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/rope/rope_faults.h"
#include "ops/rope/rotate.cuh"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// One block a token; a thread rotates pairs of one head after another.
template <typename T>
__global__ void rope_kernel(T* x, std::int64_t x_stride, const std::int32_t* positions,
                            const float* cos, const float* sin, int heads, int half,
                            std::int64_t table_length, Fault* fault) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t position = positions[token];
  if (position < 0 || position >= table_length) {
    if (threadIdx.x == 0) {
      report(fault, RopeFault::kPosition, position, token, table_length);
    }
    return;
  }
  T* row = x + token * x_stride;
  for (int i = threadIdx.x; i < heads * half; i += kThreads) {
    const int head = i / half;
    const int pair = i % half;
    T* first = row + head * 2 * half + pair;
    T* second = first + half;
    float a = to_float(*first);
    float b = to_float(*second);
    rotate(a, b, cos[position * half + pair], sin[position * half + pair]);
    *first = from_float<T>(a);
    *second = from_float<T>(b);
  }
}

}  // namespace

void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin) {
  dispatch_device("rope", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch(rope_kernel<T>, static_cast<unsigned>(x.dim(0)), kThreads, 0, context, output<T>(x),
           x.stride(0), input<std::int32_t>(positions), input<float>(cos), input<float>(sin),
           static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2) / 2), cos.dim(0),
           context.stream->fault());
  });
}

}  // namespace stagegate::cuda

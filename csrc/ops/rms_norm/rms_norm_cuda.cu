#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// One block a row, which is a head of a token or a whole token. The row is read twice, the second
// time from the L1 cache.
template <typename T, int kWidth>
__global__ void rms_norm_kernel(const T* x, std::int64_t x_stride, const T* weight, T* out,
                                std::int64_t out_stride, int packs, float eps) {
  const auto token = static_cast<std::int64_t>(blockIdx.x);
  const auto head = static_cast<std::int64_t>(blockIdx.y) * packs;
  const auto* in = reinterpret_cast<const Pack<T, kWidth>*>(x + token * x_stride) + head;
  const auto* scale = reinterpret_cast<const Pack<T, kWidth>*>(weight);
  auto* result = reinterpret_cast<Pack<T, kWidth>*>(out + token * out_stride) + head;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const auto values = in[i];
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const float value = to_float(values.values[e]);
      sum += value * value;
    }
  }
  const float mean = block_sum<kThreads>(sum) / static_cast<float>(packs * kWidth);
  const float inverse = 1.0f / sqrtf(mean + eps);
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const auto values = in[i];
    const auto scales = scale[i];
    Pack<T, kWidth> normed;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      normed.values[e] =
          from_float<T>(to_float(values.values[e]) * inverse * to_float(scales.values[e]));
    }
    result[i] = normed;
  }
}

}  // namespace

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out) {
  dispatch_device("rms_norm", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t width = weight.dim(0);
    const dim3 grid(static_cast<unsigned>(x.dim(0)),
                    x.rank() == 3 ? static_cast<unsigned>(x.dim(1)) : 1);
    dispatch_pack<T>(width | x.stride(0) | out.stride(0),
                     {x.raw_data(), weight.raw_data(), out.raw_data()}, [&](auto pack) {
                       constexpr int kWidth = decltype(pack)::value;
                       launch(rms_norm_kernel<T, kWidth>, grid, kThreads, 0, context, input<T>(x),
                              x.stride(0), input<T>(weight), output<T>(out), out.stride(0),
                              static_cast<int>(width / kWidth), eps);
                     });
  });
}

}  // namespace stagegate::cuda

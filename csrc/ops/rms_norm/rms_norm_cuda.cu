#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// One block a row. The row is read twice, the second time from the L1 cache.
template <typename T, int kWidth>
__global__ void rms_norm_kernel(const T* x, const T* weight, T* out, int packs, float eps) {
  const auto row = static_cast<std::int64_t>(blockIdx.x) * packs;
  const auto* in = reinterpret_cast<const Pack<T, kWidth>*>(x) + row;
  const auto* scale = reinterpret_cast<const Pack<T, kWidth>*>(weight);
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
    reinterpret_cast<Pack<T, kWidth>*>(out)[row + i] = normed;
  }
}

}  // namespace

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out) {
  dispatch_device("rms_norm", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    dispatch_pack<T>(x.dim(1), {x.raw_data(), weight.raw_data(), out.raw_data()}, [&](auto pack) {
      constexpr int kWidth = decltype(pack)::value;
      launch(rms_norm_kernel<T, kWidth>, static_cast<unsigned>(x.dim(0)), kThreads, 0, context,
             input<T>(x), input<T>(weight), output<T>(out), static_cast<int>(x.dim(1) / kWidth),
             eps);
    });
  });
}

}  // namespace stagegate::cuda

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// width: packs of a row of out.
template <typename T, int kWidth>
__global__ void swiglu_kernel(const T* gate_up, T* out, std::int64_t width, std::int64_t packs) {
  const auto* in = reinterpret_cast<const Pack<T, kWidth>*>(gate_up);
  const auto step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (auto i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < packs;
       i += step) {
    const std::int64_t row = i / width;
    const auto gate = in[i + row * width];
    const auto up = in[i + (row + 1) * width];
    Pack<T, kWidth> product;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const float g = to_float(gate.values[e]);
      product.values[e] = from_float<T>(g / (1.0f + expf(-g)) * to_float(up.values[e]));
    }
    reinterpret_cast<Pack<T, kWidth>*>(out)[i] = product;
  }
}

}  // namespace

void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out) {
  dispatch_device("swiglu", out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    dispatch_pack<T>(out.dim(1), {gate_up.raw_data(), out.raw_data()}, [&](auto pack) {
      constexpr int kWidth = decltype(pack)::value;
      const std::int64_t packs = out.numel() / kWidth;
      launch(swiglu_kernel<T, kWidth>, grid_for(packs, kThreads, context), kThreads, 0, context,
             input<T>(gate_up), output<T>(out), out.dim(1) / kWidth, packs);
    });
  });
}

}  // namespace stagegate::cuda

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

template <typename T, int kWidth>
__global__ void add_kernel(const T* a, const T* b, T* out, std::int64_t packs) {
  const auto step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (auto i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < packs;
       i += step) {
    const auto left = reinterpret_cast<const Pack<T, kWidth>*>(a)[i];
    const auto right = reinterpret_cast<const Pack<T, kWidth>*>(b)[i];
    Pack<T, kWidth> sum;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      sum.values[e] = from_float<T>(to_float(left.values[e]) + to_float(right.values[e]));
    }
    reinterpret_cast<Pack<T, kWidth>*>(out)[i] = sum;
  }
}

}  // namespace

void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out) {
  dispatch_device("add", a.dtype(), [&](auto tag) {
    using T = decltype(tag);
    dispatch_pack<T>(a.numel(), {a.raw_data(), b.raw_data(), out.raw_data()}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const std::int64_t packs = a.numel() / kWidth;
      launch(add_kernel<T, kWidth>, grid_for(packs, kThreads, context), kThreads, 0, context,
             input<T>(a), input<T>(b), output<T>(out), packs);
    });
  });
}

}  // namespace stagegate::cuda

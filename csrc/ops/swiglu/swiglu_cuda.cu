#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/ptx_hopper.cuh"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;

// A thread a pack of a row; packs: of a row of out, blocks: that share one. The last rows come
// first: they are what a product left in the L2 cache, and the first rows are then there for the
// product that follows.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(const T* gate_up, T* out, int packs, unsigned blocks) {
  ptx::follow_previous_and_let_next_start();
  const unsigned block = gridDim.x - 1 - blockIdx.x;
  const auto row = static_cast<std::int64_t>(block / blocks);
  const int i = static_cast<int>(block % blocks) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= packs) return;
  const auto* in = reinterpret_cast<const Pack<T, kWidth>*>(gate_up) + row * 2 * packs;
  const auto gate = in[i];
  const auto up = in[packs + i];
  Pack<T, kWidth> product;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    const float g = to_float(gate.values[e]);
    product.values[e] = from_float<T>(g / (1.0f + expf(-g)) * to_float(up.values[e]));
  }
  reinterpret_cast<Pack<T, kWidth>*>(out)[row * packs + i] = product;
}

}  // namespace

void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out) {
  dispatch_device("swiglu", out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    dispatch_pack<T>(out.dim(1), {gate_up.raw_data(), out.raw_data()}, [&](auto pack) {
      constexpr int kWidth = decltype(pack)::value;
      const std::int64_t packs = out.dim(1) / kWidth;
      const unsigned blocks = ceil_div(packs, kThreads);
      launch_following(swiglu_kernel<T, kWidth>, static_cast<unsigned>(out.dim(0)) * blocks,
                       kThreads, 0, context, input<T>(gate_up), output<T>(out),
                       static_cast<int>(packs), blocks);
    });
  });
}

}  // namespace stagegate::cuda

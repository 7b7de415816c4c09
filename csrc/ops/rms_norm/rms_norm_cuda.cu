#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/rms_norm/norm_row.cuh"

namespace stagegate::cuda {

namespace {

// One block a row, which is a head of a token or a whole token. kHeld: packs of it that a thread
// holds; 0: the row is read twice, the second time from the L1 cache.
template <typename T, int kWidth, int kHeld>
__global__ void __launch_bounds__(kNormThreads)
    rms_norm_kernel(const T* x, std::int64_t x_stride, const T* weight, T* out,
                    std::int64_t out_stride, int packs, float eps) {
  using Packed = Pack<T, kWidth>;
  const auto token = static_cast<std::int64_t>(blockIdx.x);
  const auto head = static_cast<std::int64_t>(blockIdx.y) * packs;
  const auto* in = reinterpret_cast<const Packed*>(x + token * x_stride) + head;
  const auto* scale = reinterpret_cast<const Packed*>(weight);
  auto* result = reinterpret_cast<Packed*>(out + token * out_stride) + head;
  if constexpr (kHeld > 0) {
    Packed held[kHeld];
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int i = threadIdx.x + h * kNormThreads;
      if (i < packs) held[h] = in[i];
    }
    norm_held_row(held, scale, result, packs, eps);
  } else {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < packs; i += kNormThreads) sum = add_squares(in[i], sum);
    const float inverse = inverse_rms(block_sum(sum), packs * kWidth, eps);
    for (int i = threadIdx.x; i < packs; i += kNormThreads) {
      result[i] = scaled_pack(in[i], inverse, scale[i]);
    }
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
                       const int packs = static_cast<int>(width / kWidth);
                       dispatch_held(packs, [&](auto held) {
                         launch(rms_norm_kernel<T, kWidth, decltype(held)::value>, grid,
                                norm_threads(packs), 0, context, input<T>(x), x.stride(0),
                                input<T>(weight), output<T>(out), out.stride(0), packs, eps);
                       });
                     });
  });
}

}  // namespace stagegate::cuda

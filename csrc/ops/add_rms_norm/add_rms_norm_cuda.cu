#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/ptx_hopper.cuh"
#include "ops/rms_norm/norm_row.cuh"

namespace stagegate::cuda {

namespace {

// One block a row, which it holds: read once, written once.
template <typename T, int kWidth, int kHeld>
__global__ void __launch_bounds__(kNormThreads)
    add_rms_norm_kernel(const T* x, T* residual, const T* weight, T* out, int packs, float eps) {
  using Packed = Pack<T, kWidth>;
  ptx::follow_previous_and_let_next_start();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * packs;
  const auto* in = reinterpret_cast<const Packed*>(x) + row;
  auto* sums = reinterpret_cast<Packed*>(residual) + row;
  Packed held[kHeld];
  Packed added[kHeld];
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int i = threadIdx.x + h * kNormThreads;
    if (i >= packs) continue;
    held[h] = sums[i];
    added[h] = in[i];
  }
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int i = threadIdx.x + h * kNormThreads;
    if (i >= packs) continue;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      held[h].values[e] = from_float<T>(to_float(held[h].values[e]) + to_float(added[h].values[e]));
    }
    sums[i] = held[h];
  }
  norm_held_row(held, reinterpret_cast<const Packed*>(weight), reinterpret_cast<Packed*>(out) + row,
                packs, eps);
}

template <typename T, typename Fn>
void dispatch_operands(const Tensor& x, const Tensor& residual, const Tensor& weight,
                       const Tensor& out, Fn&& fn) {
  dispatch_pack<T>(x.dim(1), {x.raw_data(), residual.raw_data(), weight.raw_data(), out.raw_data()},
                   std::forward<Fn>(fn));
}

}  // namespace

bool add_rms_norm_takes(const Tensor& x, const Tensor& residual, const Tensor& weight,
                        const Tensor& out) {
  bool takes = false;
  dispatch_device("add_rms_norm", x.dtype(), [&](auto tag) {
    dispatch_operands<decltype(tag)>(x, residual, weight, out, [&](auto pack) {
      takes = held_packs(static_cast<int>(x.dim(1) / decltype(pack)::value)) > 0;
    });
  });
  return takes;
}

void add_rms_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const Tensor& weight, float eps, const Tensor& out) {
  dispatch_device("add_rms_norm", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    dispatch_operands<T>(x, residual, weight, out, [&](auto pack) {
      constexpr int kWidth = decltype(pack)::value;
      const int packs = static_cast<int>(x.dim(1) / kWidth);
      dispatch_held(packs, [&](auto held) {
        constexpr int kHeld = decltype(held)::value;
        if constexpr (kHeld > 0) {
          launch_following(add_rms_norm_kernel<T, kWidth, kHeld>, static_cast<unsigned>(x.dim(0)),
                           norm_threads(packs), 0, context, input<T>(x), output<T>(residual),
                           input<T>(weight), output<T>(out), packs, eps);
        }
      });
    });
  });
}

}  // namespace stagegate::cuda

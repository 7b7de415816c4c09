#pragma once

#include "ops/linear/kernels/wide_multiply.cuh"
#include "ops/linear/kernels/wide_rounded.cuh"

namespace stagegate::cuda::wide {

// activated [rows, width] = silu(gate) · up. 8 rows of the gate and the same 8 of up are 16 rows of
// a tile, so a thread has both of a pair.
template <typename T>
struct SwiGlu {
  T* activated;
  const T* bias;  // [2 · width]
  int width;

  __device__ __forceinline__ float activate(float gate, float up) const {
    gate = rounded<T>(gate);
    return __fdividef(gate, 1.0f + __expf(-gate)) * rounded<T>(up);
  }

  // Through shared memory, where the ring was, so that whole rows go out.
  template <typename Tiling>
  __device__ __forceinline__ void store(const Sums<Tiling>& sum, const Operands& operands,
                                        const Work& work, const Shared<Tiling>& shared,
                                        int group) const {
    constexpr int kOwn = Tiling::kRows / 2;  // columns of activated
    constexpr int kStride = kOwn * 2 + 16;   // bytes
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int own = group * 32 + static_cast<int>(threadIdx.x) % kGroup / kWarp * 8;
    const int at = work.tile * kOwn + own + lane / 4;
    const bool biased = bias != nullptr && at < width;
    const float gate_bias = biased ? to_float(bias[at]) : 0.0f;
    const float up_bias = biased ? to_float(bias[width + at]) : 0.0f;
#pragma unroll
    for (int product = 0; product < Tiling::kProducts; ++product) {
#pragma unroll
      for (int part = 0; part < Tiling::kWidth; part += 32) {
        const int first = product * Tiling::kWidth + part;
        std::uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* own_sums = &sum[product][(part / 8 + i) * 4];
          const float2 factor =
              *reinterpret_cast<const float2*>(shared.factors + first + i * 8 + lane % 4 * 2);
          pairs[i] = ptx::pair<T>(
              activate(own_sums[0] * factor.x + gate_bias, own_sums[2] * factor.x + up_bias),
              activate(own_sums[1] * factor.y + gate_bias, own_sums[3] * factor.y + up_bias));
        }
        ptx::store_transposed(shared.ring + (first + lane) * kStride + own * 2, pairs);
      }
    }
    ptx::sync_threads(kStored, Tiling::kMultipliers);
    send<Tiling, kOwn, kStride>(operands, work, shared);
  }

 private:
  static constexpr int kStored = 3;

  template <typename Tiling, int kOwn, int kStride>
  __device__ __forceinline__ void send(const Operands& operands, const Work& work,
                                       const Shared<Tiling>& shared) const {
    constexpr int kParts = kOwn / 8;  // of 16 bytes
    for (int i = threadIdx.x; i < operands.rows * kParts; i += Tiling::kMultipliers) {
      const int row = i / kParts;
      const int at = work.tile * kOwn + i % kParts * 8;
      if (at >= width) continue;
      *reinterpret_cast<uint4*>(activated + static_cast<std::int64_t>(row) * width + at) =
          *reinterpret_cast<const uint4*>(shared.ring + row * kStride + i % kParts * 16);
    }
  }
};

}  // namespace stagegate::cuda::wide

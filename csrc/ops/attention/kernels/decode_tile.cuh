#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_copy.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/ptx.cuh"

// What a warp of the decode kernel does with a unit of keys and values: scores, weights, weighted
// sum. Keys are the rows of the products and heads the columns, so a tile of heads is 8 wide. In
// the fragments of a warp a thread holds heads lane % 4 · 2 and the next one; of scores, keys
// lane / 4 and that plus 8; of sums, the same of each 16 dimensions.
namespace stagegate::cuda {
namespace {

constexpr int kColumnsShift = 3;
constexpr int kColumns = 1 << kColumnsShift;  // heads of a product

// Multiplies what was summed up relative to `from` to be relative to `to`; nothing seen yet is 0.
__device__ __forceinline__ float rescale(float from, float to) {
  return from == -INFINITY ? 0.0f : ptx::exp2(from - to);
}

// What a warp has of the heads of one product.
template <int kDim>
struct State {
  float sum[kDim / 16][4] = {};
  // What exponents are relative to: the largest scaled score, as rounded.
  float offset[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's keys
};

// The query as fragments of the products, straight from global memory: each part is used once.
template <typename T, int kDim>
__device__ __forceinline__ void load_query(const T* query, int num_heads,
                                           std::uint32_t (&parts)[kDim / 16][2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* const q = query + lane / 4 * kDim + lane % 4 * 2;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const T* const from = q + step * 16 + half * 8;
      parts[step][half] = lane / 4 < num_heads ? *reinterpret_cast<const std::uint32_t*>(from) : 0u;
    }
  }
}

// score = k · qᵀ for every product of heads
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void multiply_keys(
    const std::uint32_t (&q_parts)[kProducts][kDim / 16][2], const T* tile_k,
    float (&score)[kProducts][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float other[kProducts][4] = {};  // two sums at a time: a product need not wait for the last one
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    std::uint32_t a[4];
    ptx::load_matrices(a, tile_k + placed<kDim>(lane & 15, step * 2 + (lane >> 4)));
#pragma unroll
    for (int p = 0; p < kProducts; ++p) {
      ptx::multiply<T>(step % 2 == 0 ? score[p] : other[p], a, q_parts[p][step][0],
                       q_parts[p][step][1]);
    }
  }
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
#pragma unroll
    for (int e = 0; e < 4; ++e) score[p][e] += other[p][e];
  }
}

// Leaves out the places of a unit behind the `left` keys that there are.
__device__ __forceinline__ void leave_out(int left, float (&score)[4]) {
  if (left >= kKeys) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    if (lane / 4 + e / 2 * 8 >= left) score[e] = -INFINITY;
  }
}

// Scores to weights, and the sums so far to the new offset.
template <int kDim>
__device__ __forceinline__ void weigh(float scale_log2, float (&score)[4], State<kDim>& state) {
#pragma unroll
  for (int head = 0; head < 2; ++head) {
    float highest = fmaxf(score[head], score[head + 2]);
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, offset));
    }
    // A unit has at least one key, so this is above -INFINITY unless a score is.
    const float scaled = fmaxf(state.offset[head], highest * scale_log2);
    const float decay = rescale(state.offset[head], scaled);
    state.offset[head] = scaled;
    float added = 0.0f;
#pragma unroll
    for (int e = head; e < 4; e += 2) {
      const float exponent = fmaf(score[e], scale_log2, -scaled);
      score[e] = score[e] == -INFINITY ? 0.0f : ptx::exp2(exponent);
      added += score[e];
    }
    state.total[head] = fmaf(state.total[head], decay, added);
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      state.sum[d][head] *= decay;
      state.sum[d][head + 2] *= decay;
    }
  }
}

// sum += vᵀ · weights for every product of heads
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void multiply_values(const float (&weights)[kProducts][4],
                                                const T* tile_v, State<kDim> (&state)[kProducts]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  std::uint32_t b[kProducts][2];
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    b[p][0] = ptx::transpose(ptx::pair<T>(weights[p][0], weights[p][1]));
    b[p][1] = ptx::transpose(ptx::pair<T>(weights[p][2], weights[p][3]));
  }
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    std::uint32_t a[4];
    ptx::load_transposed(
        a, tile_v + placed<kDim>((lane & 7) + ((lane >> 4) << 3), d * 2 + ((lane >> 3) & 1)));
#pragma unroll
    for (int p = 0; p < kProducts; ++p) ptx::multiply<T>(state[p].sum[d], a, b[p][0], b[p][1]);
  }
}

}  // namespace
}  // namespace stagegate::cuda

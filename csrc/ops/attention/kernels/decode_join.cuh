#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_operands.cuh"
#include "ops/attention/kernels/decode_tile.cuh"

// How the decode kernel joins partial results: those of a block's warps, and those of the splits.
namespace stagegate::cuda {
namespace {

// The weighted sum over the total of the weights; zero where no key was seen. A NaN among the
// scores is in the total, whatever the maximum says.
__device__ inline float weighted_mean(float sum, float total) {
  return total == 0.0f ? 0.0f : __fdiv_rn(sum, total);
}

// Joins the splits of the heads of a tile: a warp a head, a lane some neighbouring elements.
template <typename T, int kDim>
__device__ void join_splits(const Operands& operands, std::int64_t first_row, int num_heads,
                            int splits) {
  constexpr int kOwned = kDim / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int head = static_cast<int>(threadIdx.x) / kWarp; head < num_heads; head += kWarps) {
    const std::int64_t row = first_row + head;
    const float2* weights = operands.weights + row * operands.splits;
    float maximum = -INFINITY;
    for (int s = lane; s < splits; s += kWarp) maximum = fmaxf(maximum, __ldcg(&weights[s]).x);
    maximum = warp_max(maximum);
    float total = 0.0f;
    for (int s = lane; s < splits; s += kWarp) {
      const float2 weight = __ldcg(&weights[s]);
      total += weight.y * rescale(weight.x, maximum);
    }
    total = warp_sum(total);
    float joined[kOwned] = {};
    const float* sums = operands.sums + row * operands.splits * kDim + lane * kOwned;
#pragma unroll 8
    for (int s = 0; s < splits; ++s) {
      const float factor = rescale(__ldcg(&weights[s].x), maximum);
      const float* from = sums + s * kDim;
#pragma unroll
      for (int e = 0; e < kOwned; e += 2) {
        const float2 both = __ldcg(reinterpret_cast<const float2*>(from + e));
        joined[e] = fmaf(both.x, factor, joined[e]);
        joined[e + 1] = fmaf(both.y, factor, joined[e + 1]);
      }
    }
    Pack<T, kOwned> result;
#pragma unroll
    for (int e = 0; e < kOwned; ++e) {
      result.values[e] = from_float<T>(weighted_mean(joined[e], total));
    }
    *reinterpret_cast<Pack<T, kOwned>*>(static_cast<T*>(operands.out) + row * kDim +
                                        lane * kOwned) = result;
  }
}

// Puts what a warp has into shared memory, its totals added up over the threads of a row.
template <typename T, int kDim>
__device__ __forceinline__ void share_sums(const float (&offset)[2], float (&total)[2],
                                           const float (&sum)[kDim / 8][4],
                                           Shared<T, kDim>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int row = lane / 4 + half * 8;
    if (lane % 4 == 0) {
      shared.offsets[warp][row] = offset[half];
      shared.totals[warp][row] = total[half];
    }
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      *reinterpret_cast<float2*>(
          &shared.sums[warp][row * Shared<T, kDim>::kSumRow + d * 8 + lane % 4 * 2]) =
          make_float2(sum[d][2 * half], sum[d][2 * half + 1]);
    }
  }
}

// Joins what the warps have: to the result, or to what this split has of it. A thread has elements
// thread, thread + kThreads, ... of [kRows, kDim].
template <typename T, int kDim>
__device__ __forceinline__ void join_warps(const Operands& operands, const Shared<T, kDim>& shared,
                                           std::int64_t first_row, int num_heads, int split,
                                           int splits) {
  constexpr int kOwned = kRows * kDim / kThreads;
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int j = 0; j < kOwned; ++j) {
    const int head = (thread + j * kThreads) / kDim;
    const int d = (thread + j * kThreads) % kDim;
    if (head >= num_heads) break;
    float maximum = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, shared.offsets[w][head]);
    float joined = 0.0f;
    float all = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = rescale(shared.offsets[w][head], maximum);
      joined = fmaf(shared.sums[w][head * Shared<T, kDim>::kSumRow + d], factor, joined);
      all = fmaf(shared.totals[w][head], factor, all);
    }
    const std::int64_t row = first_row + head;
    if (splits == 1) {
      static_cast<T*>(operands.out)[row * kDim + d] = from_float<T>(weighted_mean(joined, all));
    } else {
      const std::int64_t at = row * operands.splits + split;
      operands.sums[at * kDim + d] = joined;
      if (d == 0) operands.weights[at] = make_float2(maximum, all);
    }
  }
}

// Whether this block is the last of the splits to arrive; all threads get the same answer.
// Every thread stores its results before its block counts itself, so the last block to count sees
// all of them (threadFenceReduction in the CUDA samples). The counter wraps to zero.
__device__ __forceinline__ bool arrives_last(unsigned* arrived, int splits, bool& is_last) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last =
        atomicInc(arrived, static_cast<unsigned>(splits - 1)) == static_cast<unsigned>(splits - 1);
  }
  __syncthreads();
  if (!is_last) return false;
  __threadfence();
  return true;
}

}  // namespace
}  // namespace stagegate::cuda

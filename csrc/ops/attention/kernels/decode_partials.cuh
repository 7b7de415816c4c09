#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_tile.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/ptx_hopper.cuh"

// What joins partial results of the decode kernel: the blocks of a worker, and how four elements of
// a sum are added up.
namespace stagegate::cuda {
namespace {

// Partial results that are joined at a time: more where loading takes longer.
constexpr int kPartialsAtOnce = 4;
constexpr int kPartsAtOnce = 16;

// A worker as one of its blocks sees it.
struct Worker {
  int index;
  int rank;           // of the block
  int cluster_shift;  // log2 of its blocks

  __device__ __forceinline__ int warps() const { return kWarps << cluster_shift; }
  // Of the heads of a product every block joins as many: log2 of their number, and which.
  __device__ __forceinline__ int heads_shift() const { return kColumnsShift - cluster_shift; }
  __device__ __forceinline__ int first_head() const { return rank << heads_shift(); }
  // How many of them there are where the product has `count` heads.
  __device__ __forceinline__ int heads_below(int count) const {
    return min(1 << heads_shift(), count - first_head());
  }

  // The block has begun, so others may write into its shared memory when they have waited.
  __device__ __forceinline__ void begin() const {
    if constexpr (kIsHopper) {
      if (cluster_shift > 0) ptx::begin_in_cluster();
    }
  }
  // The halves of a barrier of all its threads. A worker of one block does both in the second.
  __device__ __forceinline__ void arrive() const {
    if constexpr (kIsHopper) {
      if (cluster_shift > 0) ptx::arrive_at_cluster();
    }
  }
  __device__ __forceinline__ void wait() const {
    if constexpr (kIsHopper) {
      if (cluster_shift > 0) return ptx::wait_for_cluster();
    }
    __syncthreads();
  }
  template <typename Variable>
  __device__ __forceinline__ Variable* in_block(Variable* variable, int of_rank) const {
    if constexpr (kIsHopper) {
      if (cluster_shift > 0) return ptx::of_block(variable, of_rank);
    }
    return variable;
  }
};

// Four neighbouring elements of a sum.
struct Joining {
  float maximum = -INFINITY;
  float total = 0.0f;
  float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};

  template <int kCount>
  __device__ __forceinline__ void add(const float2 (&weights)[kCount],
                                      const float4 (&sums)[kCount]) {
    float highest = maximum;
#pragma unroll
    for (int i = 0; i < kCount; ++i) highest = fmaxf(highest, weights[i].x);
    const float kept = rescale(maximum, highest);
    maximum = highest;
    total *= kept;
    sum = {sum.x * kept, sum.y * kept, sum.z * kept, sum.w * kept};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float factor = rescale(weights[i].x, highest);
      total = fmaf(weights[i].y, factor, total);
      sum.x = fmaf(sums[i].x, factor, sum.x);
      sum.y = fmaf(sums[i].y, factor, sum.y);
      sum.z = fmaf(sums[i].z, factor, sum.z);
      sum.w = fmaf(sums[i].w, factor, sum.w);
    }
  }

  // Adds up over `threads` neighbouring threads: a power of two. Each adds in an order of its own;
  // that of the first counts.
  __device__ __forceinline__ void add_threads(int threads) {
#pragma unroll 1
    for (int offset = 1; offset < threads; offset *= 2) {
      constexpr unsigned kAll = 0xffffffffu;
      const float2 weights[1] = {
          {__shfl_xor_sync(kAll, maximum, offset), __shfl_xor_sync(kAll, total, offset)}};
      const float4 sums[1] = {
          {__shfl_xor_sync(kAll, sum.x, offset), __shfl_xor_sync(kAll, sum.y, offset),
           __shfl_xor_sync(kAll, sum.z, offset), __shfl_xor_sync(kAll, sum.w, offset)}};
      add(weights, sums);
    }
  }

  // The weighted sum over the total of the weights; zero where no key was seen. A NaN among the
  // scores is in the total, whatever the maximum says.
  template <typename T>
  __device__ __forceinline__ void write(T* to) const {
    const float inverse = total == 0.0f ? 0.0f : __frcp_rn(total);
    const Pack<T, 4> result{{from_float<T>(sum.x * inverse), from_float<T>(sum.y * inverse),
                             from_float<T>(sum.z * inverse), from_float<T>(sum.w * inverse)}};
    *reinterpret_cast<Pack<T, 4>*>(to) = result;
  }
};

// Joins `count` partial results for all elements of `heads` heads of this block, four elements a
// thread: some threads side by side where there are more threads than such elements.
//   load(partial, head, d, weights, sums)
//   store(joined, head, d)
template <int kDim, int kAtOnce, typename Load, typename Store>
__device__ __forceinline__ void join_partials(const Worker& worker, int heads, int count,
                                              Load&& load, Store&& store) {
  constexpr int kQuads = kDim / 4;
  const int shift = max(0, worker.cluster_shift - 1);  // log2 of the threads side by side
  const int threads = 1 << shift;
  const int own = static_cast<int>(threadIdx.x) & (threads - 1);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) >> shift; i < heads * kQuads; i += kThreads >> shift) {
    const int head = i / kQuads;
    const int d = i % kQuads * 4;
    Joining joining;
#pragma unroll 1
    for (int first = own * kAtOnce; first < count; first += threads * kAtOnce) {
      float2 weights[kAtOnce];
      float4 sums[kAtOnce];
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) {
        weights[p] = make_float2(-INFINITY, 0.0f);
        sums[p] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (first + p < count) load(first + p, head, d, weights[p], sums[p]);
      }
      joining.add(weights, sums);
    }
    joining.add_threads(threads);
    if (own == 0) store(joining, head, d);
  }
}

// The heads of an item and where their results go.
template <typename T>
struct Results {
  T* out;  // of the first head
  int heads;
};

}  // namespace
}  // namespace stagegate::cuda

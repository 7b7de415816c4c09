#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_ring.cuh"
#include "ops/attention/kernels/decode_tile.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/ptx_hopper.cuh"

// How the decode kernel joins partial results: those of the warps of a worker, and those of the
// workers that an item was cut among. Each time in the order of the keys' owners, so a result does
// not depend on who came first. Every block of a worker has some heads of an item. All warps of the
// worker put what they have of these into its shared memory.
namespace stagegate::cuda {
namespace {

constexpr int kMaxCluster = kColumns;
constexpr int kPartials = kColumns * kWarps;  // that a block gets, however wide its worker is
// What is joined at a time: more where loading takes longer.
constexpr int kPartialsAtOnce = 4;
constexpr int kPartsAtOnce = 16;

template <typename T, int kDim>
struct Shared {
  // Rows of f32 are shifted against each other so that a warp's stores hit different banks.
  static constexpr int kSumRow = kDim + 4;
  Ring<T, kDim> rings[kWarps];
  float sums[kPartials][kSumRow];  // [warp of the worker, head of this block]
  float2 weights[kPartials];       // maximum in the exponent of 2, and total
  bool is_last;
};

// What the workers leave each other: [2 · worker, heads of an item] for a part that begins behind
// the beginning of its item, [2 · worker + 1, ...] for one that begins with it.
struct Parts {
  float* sums;        // [slot, head, head_dim] of weighted values
  float2* weights;    // [slot, head]: maximum in the exponent of 2, and total
  unsigned* arrived;  // [worker, block of it]: parts that are done; zero before and after
};

// A worker as one of its blocks sees it.
struct Worker {
  int index;
  int rank;           // of the block
  int cluster_shift;  // log2 of its blocks

  __device__ __forceinline__ int warps() const { return kWarps << cluster_shift; }
  // Of the heads of a product every block joins as many: log2 of their number, and which.
  __device__ __forceinline__ int heads_shift() const { return kColumnsShift - cluster_shift; }
  __device__ __forceinline__ int first_head() const { return rank << heads_shift(); }

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

// Puts what a warp has into the shared memory of the blocks that join it, its totals added up over
// the threads of a head.
template <typename T, int kDim>
__device__ __forceinline__ void share_sums(const Worker& worker, const State<kDim>& state,
                                           Shared<T, kDim>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = worker.rank * kWarps + static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int own = 0; own < 2; ++own) {
    float total = state.total[own];
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) {
      total += __shfl_xor_sync(0xffffffffu, total, offset);
    }
    const int head = lane % 4 * 2 + own;
    const int rank = head >> worker.heads_shift();
    const int row = (warp << worker.heads_shift()) + head - (rank << worker.heads_shift());
    float2* const weights = worker.in_block(&shared.weights[row], rank);
    float* const sums = worker.in_block(&shared.sums[row][lane / 4], rank);
    if (lane / 4 == 0) *weights = make_float2(state.offset[own], total);
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      sums[d * 16] = state.sum[d][own];
      sums[d * 16 + 8] = state.sum[d][own + 2];
    }
  }
}

// Joins partials for all elements of the heads of this block, four elements a thread: some threads
// side by side where there are more threads than such elements.
//   load(partial, head of the block, d)   loads one: its weights and sums; nothing behind `count`
//   store(joined, head of the block, d)   takes what came out
template <int kDim, int kAtOnce, typename Load, typename Store>
__device__ __forceinline__ void join_partials(const Worker& worker, int count, Load&& load,
                                              Store&& store) {
  constexpr int kQuads = kDim / 4;
  const int shift = max(0, worker.cluster_shift - 1);  // log2 of the threads side by side
  const int threads = 1 << shift;
  const int own = static_cast<int>(threadIdx.x) & (threads - 1);
  const int end = kQuads << worker.heads_shift();
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) >> shift; i < end; i += kThreads >> shift) {
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

// Whether this block is the last of `parts` to arrive; all threads get the same answer. Every
// thread has stored its results before its block counts itself, so the last block to count sees all
// of them (threadFenceReduction in the CUDA samples). The counter wraps to zero.
__device__ __forceinline__ bool arrives_last(unsigned* arrived, int parts, bool& is_last) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last =
        atomicInc(arrived, static_cast<unsigned>(parts - 1)) == static_cast<unsigned>(parts - 1);
  }
  __syncthreads();
  if (!is_last) return false;
  __threadfence();
  return true;
}

// The heads of an item and where their results go.
template <typename T>
struct Results {
  T* out;  // of the first head
  int heads;
};

// Joins what the workers have of an item that was cut among them.
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void join_parts(const Worker& worker, const Share& share,
                                           const Item& item, const Parts& parts,
                                           const Results<T>& results, bool& is_last) {
  constexpr int kHeads = kProducts * kColumns;
  const int first = divided_up(item.first + 1, share.units) - 1;
  const int count = divided_up(item.end(), share.units) - first;
  unsigned* const arrived = parts.arrived + (first << worker.cluster_shift) + worker.rank;
  if (!arrives_last(arrived, count, is_last)) return;
#pragma unroll 1
  for (int p = 0; p < kProducts; ++p) {
    const int of_item = p * kColumns + worker.first_head();
    join_partials<kDim, kPartsAtOnce>(
        worker, count,
        [&](int part, int head, int d, float2& weights, float4& sums) {
          const int slot = 2 * (first + part) + (part == 0 ? 1 : 0);
          const std::int64_t row = static_cast<std::int64_t>(slot) * kHeads + of_item + head;
          weights = __ldcg(parts.weights + row);
          sums = __ldcg(reinterpret_cast<const float4*>(parts.sums + row * kDim + d));
        },
        [&](const Joining& joining, int head, int d) {
          if (of_item + head < results.heads)
            joining.write(results.out + (of_item + head) * kDim + d);
        });
  }
}

// Joins the results of an item that this worker has gone through as far as its share goes, and
// writes them where the item is done. Every join but a worker's last ends in Worker::arrive().
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void join(const Worker& worker, const Share& share, const Item& item,
                                     const State<kDim> (&state)[kProducts], const Parts& parts,
                                     const Results<T>& results, Shared<T, kDim>& shared) {
  constexpr int kHeads = kProducts * kColumns;
  const bool begins = item.first >= share.first;
  const bool whole = begins && item.end() <= share.end;
  const std::int64_t first_row = (2 * worker.index + (begins ? 1 : 0)) * std::int64_t{kHeads};
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    worker.wait();  // nobody reads the sums before any more
    share_sums(worker, state[p], shared);
    worker.arrive();
    worker.wait();
    const int of_item = p * kColumns + worker.first_head();
    join_partials<kDim, kPartialsAtOnce>(
        worker, worker.warps(),
        [&](int warp, int head, int d, float2& weights, float4& sums) {
          const int row = (warp << worker.heads_shift()) + head;
          weights = shared.weights[row];
          sums = *reinterpret_cast<const float4*>(&shared.sums[row][d]);
        },
        [&](const Joining& joining, int head, int d) {
          if (of_item + head >= results.heads) return;
          if (whole) return joining.write(results.out + (of_item + head) * kDim + d);
          const std::int64_t row = first_row + of_item + head;
          *reinterpret_cast<float4*>(parts.sums + row * kDim + d) = joining.sum;
          if (d == 0) parts.weights[row] = make_float2(joining.maximum, joining.total);
        });
    if (p < kProducts - 1 || item.end() < share.end) worker.arrive();
  }
  if (whole) return;
  join_parts<T, kDim, kProducts>(worker, share, item, parts, results, shared.is_last);
}

}  // namespace
}  // namespace stagegate::cuda

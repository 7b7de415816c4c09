#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_copy.cuh"
#include "ops/attention/kernels/decode_partials.cuh"
#include "ops/attention/kernels/decode_tile.cuh"
#include "ops/attention/kernels/decode_work.cuh"

// How the decode kernel joins partial results: those of the warps of a worker, and those of the
// workers that an item was cut among. Each time in the order of the keys' owners, so a result does
// not depend on who came first. Every block of a worker has some heads of an item. All warps of the
// worker put what they have of these into its shared memory.
namespace stagegate::cuda {
namespace {

constexpr int kPartials = kColumns * kWarps;  // that a block gets, however wide its worker is

template <typename T, int kDim>
struct Shared {
  // Rows of f32 are shifted against each other so that a warp's stores hit different banks.
  static constexpr int kSumRow = kDim + 4;
  Ring<T, kDim> rings[kWarps];
  float sums[kPartials][kSumRow];       // [warp of the worker, head of this block]
  float2 weights[kPartials];            // maximum in the exponent of 2, and total
  std::uint64_t full[kWarps][kStages];  // for copies of boxes
  bool is_last[2];
};

// What the workers leave each other: [2 · worker, heads of an item] for a part that begins behind
// the beginning of its item, [2 · worker + 1, ...] for one that begins with it.
struct Parts {
  float* sums;        // [slot, head, head_dim] of weighted values
  float2* weights;    // [slot, head]: maximum in the exponent of 2, and total
  unsigned* arrived;  // [worker, block of it]: parts that are done; zero before and after
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

// Joins what the warps of a worker have of an item. Writes the result, or the worker's part of it
// where the item is cut. Every join but a worker's last ends in Worker::arrive().
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void join_warps(const Worker& worker, const Share& share,
                                           const Item& item, const State<kDim> (&state)[kProducts],
                                           const Parts& parts, const Results<T>& results,
                                           Shared<T, kDim>& shared) {
  constexpr int kHeads = kProducts * kColumns;
  const bool whole = !share.cuts(item);
  const int slot = 2 * worker.index + (item.first >= share.first ? 1 : 0);
  const std::int64_t first_row = std::int64_t{kHeads} * slot;
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    worker.wait();  // no block still reads the sums of the previous item
    share_sums(worker, state[p], shared);
    worker.arrive();
    worker.wait();
    const int of_item = p * kColumns + worker.first_head();
    join_partials<kDim, kPartialsAtOnce>(
        worker, worker.heads_below(results.heads - p * kColumns), worker.warps(),
        [&](int warp, int head, int d, float2& weights, float4& sums) {
          const int row = (warp << worker.heads_shift()) + head;
          weights = shared.weights[row];
          sums = *reinterpret_cast<const float4*>(&shared.sums[row][d]);
        },
        [&](const Joining& joining, int head, int d) {
          if (whole) return joining.write(results.out + (of_item + head) * kDim + d);
          const std::int64_t row = first_row + of_item + head;
          *reinterpret_cast<float4*>(parts.sums + row * kDim + d) = joining.sum;
          if (d == 0) parts.weights[row] = make_float2(joining.maximum, joining.total);
        });
    if (p < kProducts - 1 || item.end() < share.end) worker.arrive();
  }
}

// The workers that an item was cut among.
struct Cut {
  int first;
  int count;
};

__device__ __forceinline__ Cut workers_of(const Share& share, const Item& item) {
  const int first = divided_up(item.first + 1, share.units) - 1;
  return {first, divided_up(item.end(), share.units) - first};
}

// Counts this block for the items that its worker has parts of, the first and the last of its share
// at most. Sets is_last where it is the last to arrive; all threads see the same. Every thread has
// stored its parts before, so the last block to count sees all of them (threadFenceReduction in the
// CUDA samples). The counters wrap to zero.
__device__ __forceinline__ void count_arrival(const Worker& worker, const Share& share,
                                              const Item (&items)[2], const bool (&cut)[2],
                                              const Parts& parts, bool (&is_last)[2]) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x < 2) {
    const bool first = threadIdx.x == 0;
    bool last = false;
    if (first ? cut[0] : cut[1]) {
      const Cut by = workers_of(share, first ? items[0] : items[1]);
      unsigned* const arrived = parts.arrived + (by.first << worker.cluster_shift) + worker.rank;
      const auto others = static_cast<unsigned>(by.count - 1);
      last = atomicInc(arrived, others) == others;
    }
    is_last[threadIdx.x] = last;
  }
  __syncthreads();
  __threadfence();
}

// Joins what the workers have of an item that was cut among them.
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void join_parts(const Worker& worker, const Cut& by, const Parts& parts,
                                           const Results<T>& results) {
  constexpr int kHeads = kProducts * kColumns;
#pragma unroll 1
  for (int p = 0; p < kProducts; ++p) {
    const int of_item = p * kColumns + worker.first_head();
    join_partials<kDim, kPartsAtOnce>(
        worker, worker.heads_below(results.heads - p * kColumns), by.count,
        [&](int part, int head, int d, float2& weights, float4& sums) {
          const int slot = 2 * (by.first + part) + (part == 0 ? 1 : 0);
          const std::int64_t row = static_cast<std::int64_t>(slot) * kHeads + of_item + head;
          weights = __ldcg(parts.weights + row);
          sums = __ldcg(reinterpret_cast<const float4*>(parts.sums + row * kDim + d));
        },
        [&](const Joining& joining, int head, int d) {
          joining.write(results.out + (of_item + head) * kDim + d);
        });
  }
}

}  // namespace
}  // namespace stagegate::cuda

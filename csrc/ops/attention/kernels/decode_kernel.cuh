#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_copy.cuh"
#include "ops/attention/kernels/decode_divide.cuh"
#include "ops/attention/kernels/decode_join.cuh"
#include "ops/attention/kernels/decode_partials.cuh"
#include "ops/attention/kernels/decode_ring.cuh"
#include "ops/attention/kernels/decode_tile.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/attention/kernels/keys.cuh"
#include "ops/ptx.cuh"
#include "ops/ptx_hopper.cuh"

// Split-KV decoding ("Flash-Decoding", Dao et al. 2023) as one wave of thread blocks that divide
// the keys of all queries evenly (decode_divide.cuh). The heads that share a key head are the
// columns of tensor core products. The warps of a worker take turns at units of 16 keys, each with
// copies in flight and a softmax of its own, so the loop has no barrier (decode_copy.cuh,
// decode_ring.cuh, decode_tile.cuh). What they have is joined when the worker comes to the end of
// an item (decode_join.cuh).
namespace stagegate::cuda {
namespace {

constexpr int kBlocksPerMultiprocessor = 2;

struct Operands {
  const void* q;
  void* out;
  Cache cache;
  Boxes boxes;  // for By::kBoxes
  Lookup lookup;
  Parts parts;
  std::int64_t q_stride;
  int heads, group;
  int workers;
  int cluster_shift;  // log2 of the blocks of a worker
  int fewest_units;   // of a share
  float scale_log2;   // scale · log2(e)
  // Whether tables, lengths, and the keys and values of earlier steps are there while the kernel
  // before this one still runs; see launch_chained.
  bool reads_early;
};

// The heads of an item as the query and the result have them: the first, and how many.
struct Heads {
  std::int64_t first;
  int count;
};

template <int kHeads>
__device__ __forceinline__ Heads heads_of(const Operands& operands, const Item& item) {
  const int tiles = operands.cache.head_tiles;
  const int kv_head = tiles == 1 ? item.tile : item.tile / tiles;
  const int first_of_group = (item.tile - kv_head * tiles) * kHeads;
  return {kv_head * operands.group + first_of_group, min(kHeads, operands.group - first_of_group)};
}

template <typename T, int kDim, int kHeads>
__device__ __forceinline__ Results<T> results_of(const Operands& operands, const Item& item) {
  const Heads heads = heads_of<kHeads>(operands, item);
  const std::int64_t row = static_cast<std::int64_t>(item.query) * operands.heads + heads.first;
  return {static_cast<T*>(operands.out) + row * kDim, heads.count};
}

// Reads the query of an item.
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void read_query(const Operands& operands, const Item& item,
                                           std::uint32_t (&parts)[kProducts][kDim / 16][2]) {
  const Heads heads = heads_of<kProducts * kColumns>(operands, item);
  const T* const q = static_cast<const T*>(operands.q) + item.query * operands.q_stride;
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    load_query<T, kDim>(q + (heads.first + p * kColumns) * kDim, heads.count - p * kColumns,
                        parts[p]);
  }
}

template <typename T, int kDim, By kBy>
__device__ __forceinline__ auto copies_of(const Operands& operands, Ring<T, kDim>& ring,
                                          std::uint64_t* full) {
  if constexpr (kBy == By::kBoxes) {
    const BoxCopies<T, kDim> copies{operands.boxes, ring, full, operands.lookup.slots};
    copies.begin();
    return copies;
  } else {
    return RowCopies<T, kDim>{operands.cache, ring};
  }
}

// One unit of keys and values that is in shared memory.
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void attend_unit(const std::uint32_t (&q_parts)[kProducts][kDim / 16][2],
                                            const Ring<T, kDim>& ring, int stage, int keys,
                                            float scale_log2, State<kDim> (&state)[kProducts]) {
  float score[kProducts][4] = {};
  multiply_keys<T, kDim>(q_parts, ring.k[stage], score);
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    leave_out(keys, score[p]);
    weigh<kDim>(scale_log2, score[p], state[p]);
  }
  multiply_values<T, kDim>(score, ring.v[stage], state);
}

// Joins the first and the last item of a share with what other workers have of them.
template <typename T, int kDim, int kProducts>
__device__ __forceinline__ void join_with_others(const Operands& operands, const Worker& worker,
                                                 const Share& share, const Item& last,
                                                 bool (&is_last)[2]) {
  const Item items[2] = {share.item, last};
  const bool cut[2] = {share.cuts(share.item), last.first > share.item.first && share.cuts(last)};
  if (!cut[0] && !cut[1]) return;
  count_arrival(worker, share, items, cut, operands.parts, is_last);
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    if (!is_last[i]) continue;
    const Item item = i == 0 ? share.item : last;
    join_parts<T, kDim, kProducts>(worker, workers_of(share, item), operands.parts,
                                   results_of<T, kDim, kProducts * kColumns>(operands, item));
  }
}

// Goes through a worker's share, item by item. The query of the next item is read before what the
// warps have of this one is joined.
template <typename T, int kDim, int kProducts, Keys::Kind kKind, By kBy>
__device__ __forceinline__ void attend_share(const Operands& operands, const Worker& worker,
                                             const Share& share, Shared<T, kDim>& shared) {
  using Query = std::uint32_t[kProducts][kDim / 16][2];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  Ring<T, kDim>& ring = shared.rings[warp];
  int unit = share.first + worker.rank * kWarps + warp;
  auto copies = copies_of<T, kDim, kBy>(operands, ring, shared.full[warp]);
  Loader<decltype(copies), kKind> loader{operands.lookup, operands.cache.head_tiles,
                                         worker.warps(),  share.end,
                                         share.sizes,     unit,
                                         share.item,      copies};
  loader.fill(ptx::follow_previous);

  Item item = share.item;
  Query query;
  read_query<T, kDim>(operands, item, query);
  int stage = 0;
  for (;;) {
    State<kDim> state[kProducts];
    const int end = min(item.end(), share.end);
    const int keys_at = item.first_with_keys();
#pragma unroll 1
    for (; unit < end; unit += worker.warps()) {
      if (unit < keys_at) continue;
      const int keys = item.seen.count - (unit - keys_at) * kKeys;
      loader.copies.wait(stage, keys);
      attend_unit<T, kDim>(query, ring, stage, keys, operands.scale_log2, state);
      __syncwarp();  // no lane reads it any more
      loader.load(stage);
      stage = stage == kStages - 1 ? 0 : stage + 1;
    }
    Item next = item;
    if (end < share.end) {
      advance<kKind>(next, operands.lookup, share.sizes);
      read_query<T, kDim>(operands, next, query);
    }
    join_warps(worker, share, item, state, operands.parts,
               results_of<T, kDim, kProducts * kColumns>(operands, item), shared);
    if (end == share.end) break;
    item = next;
  }
  ptx::wait_copies<0>();
  join_with_others<T, kDim, kProducts>(operands, worker, share, item, shared.is_last);
}

// The results of queries without keys, which are in no share. Every block writes some.
template <typename T, int kDim, Keys::Kind kKind>
__device__ __forceinline__ void write_zeros(const Operands& operands) {
  const int quads = operands.heads * (kDim / 4);
#pragma unroll 1
  for (int query = blockIdx.x; query < operands.lookup.queries; query += gridDim.x) {
    if (see<kKind>(operands.lookup, query).count > 0) continue;
    T* const out = static_cast<T*>(operands.out) + std::int64_t{query} * operands.heads * kDim;
    for (int i = threadIdx.x; i < quads; i += kThreads) {
      *reinterpret_cast<Pack<T, 4>*>(out + i * 4) = Pack<T, 4>{};
    }
  }
}

// What a block does. kKind: that of the keys, so that a kernel has no code for another.
template <typename T, int kDim, int kProducts, Keys::Kind kKind, By kBy>
__device__ __forceinline__ void decode(const Operands& operands, Shared<T, kDim>& shared) {
  const int block = static_cast<int>(blockIdx.x);
  const int shift = operands.cluster_shift;
  const Worker worker{block >> shift, block & ((1 << shift) - 1), shift};
  worker.begin();
  if constexpr (kIsHopper) {
    ptx::let_next_start();
    if (!operands.reads_early) ptx::wait_for_previous();
  }
  const Lookup& lookup = operands.lookup;
  const Share share =
      divide<kKind>(lookup, operands.fewest_units, worker.warps(), operands.workers, worker.index);
  if (share.first < share.end) {
    attend_share<T, kDim, kProducts, kKind, kBy>(operands, worker, share, shared);
  } else {
    ptx::follow_previous();
    worker.wait();
  }
  write_zeros<T, kDim, kKind>(operands);
  // Every block has seen the lengths of all queries, so little is left to check.
  const auto blocks = static_cast<int>(gridDim.x);
  const bool checks_all = kKind == Keys::Kind::kPaged;
  if (checks_all && block != blocks - 1) return;
  check_everything(lookup.keys, checks_all ? threadIdx.x : block * kThreads + threadIdx.x,
                   checks_all ? kThreads : std::int64_t{blocks} * kThreads, lookup.fault);
}

// kBy: boxes for Hopper alone.
template <typename T, int kDim, int kProducts, Keys::Kind kKind, By kBy>
__global__ __launch_bounds__(kThreads, kBlocksPerMultiprocessor) void decode_kernel(
    const __grid_constant__ Operands operands) {
  if constexpr (kIsHopper || kBy == By::kRows) {
    extern __shared__ __align__(1024) unsigned char memory[];
    decode<T, kDim, kProducts, kKind, kBy>(operands, *reinterpret_cast<Shared<T, kDim>*>(memory));
  }
}

}  // namespace
}  // namespace stagegate::cuda

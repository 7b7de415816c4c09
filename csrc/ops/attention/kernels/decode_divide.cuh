#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/attention/kernels/keys.cuh"

// How the row of units is divided among the workers of the decode kernel: into equal shares, which
// are parts of long contexts, or many short ones. Lengths are read on the device, so a captured
// graph has one grid for any lengths.
//
// To begin and end an item takes time too. Where contexts differ in length, some workers get many
// short items and others a few long ones, so every item counts kLead units more. Where all are
// about equally long, each counts as many units as the longest, so that shares end where items do.
// Such lead units stand before the keys of an item and hold none. A query without keys, as padding
// has, takes no units.
namespace stagegate::cuda {
namespace {

// Units an item is worth besides its keys.
constexpr int kLead = 4;
// Lengths that a thread loads at a time.
constexpr int kLengthsAtOnce = 4;

// The contexts of a call, in units without lead units.
struct Contexts {
  int total;    // of all items
  int longest;  // of one
  int items;    // with keys

  __device__ __forceinline__ void add(int keys) {
    const int units = (keys + kKeys - 1) / kKeys;
    total += units;
    longest = max(longest, units);
    items += units > 0 ? 1 : 0;
  }
  __device__ __forceinline__ bool are_alike() const {
    return items * static_cast<float>(longest) <= total * 1.0625f;
  }
};

// How the row is divided.
struct Division {
  int units;  // of a share
  Sizes sizes;
};

// A share has as many units as every other, but not so few that joining costs more than it saves.
// Where all contexts are about equally long, a share becomes a whole number of items or a whole
// fraction of one, if that lengthens it by no more than an eighth: to cut items costs as much.
//   turn    units that the warps of a worker take at a time
__device__ __forceinline__ Division division_of(const Contexts& contexts, int workers, int turn,
                                                int fewest) {
  const int items = contexts.items;
  const int longest = contexts.longest;
  if (contexts.are_alike()) {
    const int equal = max(divided_up(contexts.total, workers), fewest);
    const int most = max(divided_up(items * longest, workers), fewest);
    int pieces = divided_up(longest + 1, most) - 1;  // of an item
    int units = divided_up(most, longest) * longest;
    if (pieces > 0) {
      units = divided_up(longest, pieces);
      // Pieces that take their warps a turn less, where there are workers for them.
      const int fewer = pieces > 1 && units > turn ? units / turn * turn : units;
      const int more = divided_up(longest, fewer);
      if (items * more <= workers) {
        pieces = more;
        units = divided_up(longest, pieces);
      }
    }
    if (units - equal <= max(equal / 8, 1)) {
      return {units, {0, pieces > 0 ? pieces * units : longest}};
    }
  }
  const int lead = contexts.are_alike() ? 0 : kLead;
  return {max(divided_up(contexts.total + items * lead, workers), fewest), {lead, 0}};
}

// Adds up the contexts of kLengthsAtOnce queries from `query` on, or as many as there are below
// `end`. Their lengths are loaded together, because each load takes long.
template <Keys::Kind kKind>
__device__ __forceinline__ void add_contexts(const Lookup& lookup, int query, int end,
                                             Contexts& sum) {
  if constexpr (kKind == Keys::Kind::kPaged) {
    const PagedKeys& paged = lookup.keys.paged;
    bool plain = end <= paged.sequences;
    int counts[kLengthsAtOnce] = {};
    if (plain) {
      int starts[kLengthsAtOnce + 1];
#pragma unroll
      for (int i = 0; i < kLengthsAtOnce; ++i) {
        starts[i] = paged.first_query[min(query + i, end)];
        counts[i] = paged.context_lens[min(query + i, end - 1)];
      }
      starts[kLengthsAtOnce] = paged.first_query[min(query + kLengthsAtOnce, end)];
#pragma unroll
      for (int i = 0; i < kLengthsAtOnce; ++i) {
        plain =
            plain && starts[i] == min(query + i, end) && counts[i] >= 0 && counts[i] <= lookup.room;
      }
      plain = plain && starts[kLengthsAtOnce] == min(query + kLengthsAtOnce, end);
    }
    if (plain) {
#pragma unroll
      for (int i = 0; i < kLengthsAtOnce; ++i) sum.add(query + i < end ? counts[i] : 0);
      return;
    }
  }
#pragma unroll 1
  for (int i = 0; i < kLengthsAtOnce && query + i < end; ++i) {
    sum.add(see<kKind>(lookup, query + i).count);
  }
}

// Divides the row. Every warp does so by itself.
//   fewest  units of a share
//   turn    units that the warps of a worker take at a time
template <Keys::Kind kKind>
__device__ __forceinline__ Share divide(const Lookup& lookup, int fewest, int turn, int workers,
                                        int worker) {
  constexpr unsigned kAll = 0xffffffffu;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int each = (lookup.queries + kWarp - 1) / kWarp;
  const int first_query = min(lane * each, lookup.queries);
  const int end_query = min(first_query + each, lookup.queries);
  Contexts own{};
#pragma unroll 1
  for (int query = first_query; query < end_query; query += kLengthsAtOnce) {
    add_contexts<kKind>(lookup, query, end_query, own);
  }
  __syncwarp();
  const Contexts contexts{__reduce_add_sync(kAll, own.total) * lookup.tiles,
                          __reduce_max_sync(kAll, own.longest),
                          __reduce_add_sync(kAll, own.items) * lookup.tiles};
  Share share{};
  if (contexts.total == 0) return share;
  const Division division = division_of(contexts, workers, turn, fewest);
  share.units = division.units;
  share.sizes = division.sizes;
  // Of the queries of this lane: all have the least where there is one.
  const int units = share.sizes.least > 0 ? own.items * share.sizes.least
                                          : own.total + own.items * share.sizes.lead;
  int behind = units;  // of the queries up to those of this lane
#pragma unroll 1
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int other = __shfl_up_sync(kAll, behind, offset);
    behind += lane >= offset ? other : 0;
  }
  const int total = __shfl_sync(kAll, behind, kWarp - 1) * lookup.tiles;
  const std::int64_t first = static_cast<std::int64_t>(worker) * share.units;
  if (first >= total) return share;
  share.first = static_cast<int>(first);
  share.end = min(share.first + share.units, total);

  // The lane with the query of the first unit looks for it among its own.
  int before = behind - units;
  Item item{};
  const bool mine = share.first >= before * lookup.tiles && share.first < behind * lookup.tiles;
  if (mine) {
    item.query = first_query;
    for (;;) {
      item.seen = see<kKind>(lookup, item.query);
      item.units = share.sizes.units_of(item.seen.count);
      if (share.first < (before + item.units) * lookup.tiles) break;
      before += item.units;
      ++item.query;
    }
  }
  __syncwarp();
  const int finder = __ffs(static_cast<int>(__ballot_sync(kAll, mine))) - 1;
  before = __shfl_sync(kAll, before, finder) * lookup.tiles;
  share.item.query = __shfl_sync(kAll, item.query, finder);
  share.item.units = __shfl_sync(kAll, item.units, finder);
  share.item.seen = {__shfl_sync(kAll, item.seen.count, finder),
                     __shfl_sync(kAll, item.seen.origin, finder)};
  share.item.tile = divided_up(share.first - before + 1, share.item.units) - 1;
  share.item.first = before + share.item.tile * share.item.units;
  return share;
}

}  // namespace
}  // namespace stagegate::cuda

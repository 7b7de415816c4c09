#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/keys.cuh"

// How the keys of all queries are divided among the workers of the decode kernel. A worker is a
// cluster of thread blocks. Keys count in units of kKeys. The units of all queries stand in a row,
// for each query those of one tile of heads behind those of another, and every worker gets an equal
// share of the row: parts of long contexts, many short ones. Lengths are read on the device, so a
// captured graph has one grid for any lengths.
//
// To begin and end an item takes time too. Where contexts differ in length, some workers get many
// short items and others a few long ones, so every item counts kLead units more. Where all are
// about equally long, each counts as many units as the longest, so that shares end where items do.
// Such lead units stand before the keys of an item and hold none. A query without keys, as padding
// has, takes no units.
//
// A block runs most of this code once, and waits for its instructions longer than for their
// results. So what seldom happens is not inlined, and divisions are approximate and corrected.
namespace stagegate::cuda {
namespace {

constexpr int kKeys = 16;  // of a unit
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
// Units an item is worth besides its keys.
constexpr int kLead = 4;
// Lengths that a thread asks for at a time.
constexpr int kLengthsAtOnce = 4;

// The keys of a call, with what the host works out for looking them up.
struct Lookup {
  Keys keys;
  int room;         // paged: tokens of a table
  int block_shift;  // paged: log2 of the block size, or -1
  unsigned blocks;  // paged: of the cache
  int queries;
  int tiles;  // of heads, of a query
  Fault* fault;
};

// A query with the heads of one tile.
struct Item {
  int query;
  int tile;   // of all tiles of heads
  int first;  // its first unit in the row
  int units;  // with lead units
  Visible seen;

  __device__ __forceinline__ int end() const { return first + units; }
  __device__ __forceinline__ int first_with_keys() const {
    return end() - (seen.count + kKeys - 1) / kKeys;
  }
};

// How many units an item counts.
struct Sizes {
  int lead;   // before its keys, at least
  int least;  // of an item

  __device__ __forceinline__ int units_of(int keys) const {
    return keys > 0 ? max(lead + (keys + kKeys - 1) / kKeys, least) : 0;
  }
};

// The units of the row that a worker goes through, and the item that the first of them is of.
struct Share {
  int first;
  int end;    // not above `first` where there is nothing left to do
  int units;  // of a share; the last ones are smaller
  Sizes sizes;
  Item item;

  // Whether others have keys of an item that this worker goes through.
  __device__ __forceinline__ bool cuts(const Item& of) const {
    return of.first < first || of.end() > end;
  }
};

__device__ __noinline__ Visible see_anything(const Keys& keys, int query, Fault* fault) {
  return visible(keys, query, fault);
}
__device__ __noinline__ std::int32_t locate_anything(const Keys& keys, const Visible& seen,
                                                     int query, int key, Fault* fault) {
  return slot_of(keys, seen, query, key, fault);
}

__device__ __noinline__ void check_everything(const Keys& keys, std::int64_t worker,
                                              std::int64_t workers, Fault* fault) {
  check_metadata(keys, worker, workers, fault);
}

// visible() where it is most likely: the only query of a sequence with nothing wrong.
template <Keys::Kind kKind>
__device__ __forceinline__ Visible see(const Lookup& lookup, int query) {
  if constexpr (kKind == Keys::Kind::kPaged) {
    const PagedKeys& paged = lookup.keys.paged;
    if (query < paged.sequences) {
      const int first = paged.first_query[query];
      const int next = paged.first_query[query + 1];
      const int length = paged.context_lens[query];
      if (first == query && next == query + 1 && length >= 0 && length <= lookup.room) {
        return {length, query};
      }
    }
  }
  return see_anything(lookup.keys, query, lookup.fault);
}

__device__ __forceinline__ const std::int32_t* table_of(const Lookup& lookup, const Item& item) {
  const PagedKeys& paged = lookup.keys.paged;
  return paged.block_tables + static_cast<std::int64_t>(item.seen.origin) * paged.width;
}
__device__ __forceinline__ int column_of(const Lookup& lookup, int key) {
  return lookup.block_shift >= 0 ? key >> lookup.block_shift : key / lookup.keys.paged.block_size;
}

// slot_of() likewise, for a block that exists.
template <Keys::Kind kKind>
__device__ __forceinline__ std::int32_t locate(const Lookup& lookup, const Item& item, int key) {
  if constexpr (kKind == Keys::Kind::kPaged) {
    const int size = lookup.keys.paged.block_size;
    const int column = column_of(lookup, key);
    const std::int32_t block = table_of(lookup, item)[column];
    if (static_cast<unsigned>(block) < lookup.blocks) return block * size + (key - column * size);
  }
  return locate_anything(lookup.keys, item.seen, item.query, key, lookup.fault);
}

// How many of the keys a query sees are of earlier steps.
template <Keys::Kind kKind>
__device__ __forceinline__ int settled_keys(const Lookup& lookup, const Item& item) {
  if constexpr (kKind != Keys::Kind::kPaged) return 0;
  return item.seen.count - 1 - (item.query - lookup.keys.paged.first_query[item.seen.origin]);
}

// a / b, rounded up, of positive numbers with a quotient below 2^20.
__device__ __forceinline__ int divided_up(int a, int b) {
  int quotient = static_cast<int>(__fdividef(static_cast<float>(a), static_cast<float>(b)));
  quotient += quotient * b < a ? 1 : 0;
  quotient += quotient * b < a ? 1 : 0;
  return (quotient - 1) * b >= a ? quotient - 1 : quotient;
}

// Goes to the next item that has units. There must be one.
template <Keys::Kind kKind>
__device__ __forceinline__ void advance(Item& item, const Lookup& lookup, const Sizes& sizes) {
  item.first = item.end();
  if (++item.tile < lookup.tiles) return;
  item.tile = 0;
#pragma unroll 1
  do {
    item.seen = see<kKind>(lookup, ++item.query);
    item.units = sizes.units_of(item.seen.count);
  } while (item.units == 0);
}

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
    if (units - equal <= max(equal / 8, 1))
      return {units, {0, pieces > 0 ? pieces * units : longest}};
  }
  const int lead = contexts.are_alike() ? 0 : kLead;
  return {max(divided_up(contexts.total + items * lead, workers), fewest), {lead, 0}};
}

// Adds up the contexts of some queries, those below `end`. What their lengths are is asked for all
// at once, as an answer takes long.
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

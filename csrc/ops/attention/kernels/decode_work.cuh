#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/keys.cuh"

// The work of the decode kernel. A worker is a cluster of thread blocks. Keys count in units of
// kKeys. The units of all queries stand in a row, for each query those of one tile of heads behind
// those of another, and every worker gets a share of the row (decode_divide.cuh).
//
// A block runs most of this code once, and waits for its instructions longer than for their
// results. So what seldom happens is not inlined, and divisions are approximate and corrected.
namespace stagegate::cuda {
namespace {

constexpr int kKeys = 16;  // of a unit
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

// The keys of a call, with what the host works out for looking them up.
struct Lookup {
  Keys keys;
  int room;         // paged: tokens of a table
  int block_shift;  // paged: log2 of the block size, or -1
  unsigned blocks;  // paged: of the cache
  int slots;        // of the cache
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

}  // namespace
}  // namespace stagegate::cuda

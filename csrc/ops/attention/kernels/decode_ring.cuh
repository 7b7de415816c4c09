#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// How keys and values come to shared memory: every warp has a ring of units that it alone fills and
// uses. It runs on from one item to the next, so joining the results of an item leaves no gap in
// the stream from memory.
namespace stagegate::cuda {
namespace {

constexpr int kStages = 2;  // units of a warp in shared memory

template <typename T, int kDim>
struct Ring {
  T k[kStages][kKeys * kDim];
  T v[kStages][kKeys * kDim];
};

// Keys and values in global memory; distances in elements.
struct Cache {
  const void* k;
  const void* v;
  std::int64_t k_stride, v_stride;
  int head_tiles;  // that share a key head
};

// Where the keys of a unit lie.
struct Located {
  bool exists;
  std::int32_t slot;  // lane i < 16 holds the slot of key i; -1 if there is no such key
  int kv_head;
  int settled;  // keys that no kernel of this step writes
};

// Fills the ring of a warp with units unit, unit + stride, ... below end, of the row, but for lead
// units.
template <typename T, int kDim, Keys::Kind kKind>
struct Loader {
  static constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  static constexpr int kRowsAtOnce = kWarp / kPieces;  // that a warp copies with one instruction

  const Cache& cache;
  const Lookup& lookup;
  Ring<T, kDim>& ring;
  int stride;
  int end;
  Sizes sizes;
  int unit;
  Item item;      // of that unit or one before
  Located ahead;  // the unit to copy next; its slots are looked up a turn before
  // A step comes back to a key after all weights and keys of the model went through the cache.
  std::uint64_t policy = ptx::evict_first();

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  // Looks up the next unit.
  __device__ __forceinline__ Located locate_next() {
    for (;; unit += stride) {
      if (unit >= end) return {false, -1, 0, 0};
      while (unit >= item.end()) advance<kKind>(item, lookup, sizes);
      if (unit >= item.first_with_keys()) break;
    }
    const int first = (unit - item.first_with_keys()) * kKeys;
    const int key = first + lane();
    std::int32_t slot = -1;
    if (lane() < kKeys && key < item.seen.count) slot = locate<kKind>(lookup, item, key);
    unit += stride;
    const int kv_head = cache.head_tiles == 1 ? item.tile : item.tile / cache.head_tiles;
    return {true, slot, kv_head, settled_keys<kKind>(lookup, item) - first};
  }

  // Queues copies of rows [from, to) of a unit; a row without a slot becomes zeros.
  __device__ __forceinline__ void copy(int stage, const Located& unit_at, int from, int to) const {
    const int piece = lane() % kPieces;
    const T* const k = static_cast<const T*>(cache.k) + unit_at.kv_head * kDim + piece * 8;
    const T* const v = static_cast<const T*>(cache.v) + unit_at.kv_head * kDim + piece * 8;
#pragma unroll
    for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
      const int row = lane() / kPieces + i * kRowsAtOnce;
      const std::int32_t slot = __shfl_sync(0xffffffffu, unit_at.slot, row);
      const bool present = slot >= 0;
      const std::int64_t at = present ? slot : 0;
      const int place = swizzled<kDim>(row, piece);
      if (row >= from && row < to) {
        ptx::copy_async(ring.k[stage] + place, k + at * cache.k_stride, present, policy);
        ptx::copy_async(ring.v[stage] + place, v + at * cache.v_stride, present, policy);
      }
    }
  }

  // Queues the next unit and looks up the one behind it.
  __device__ __forceinline__ void load(int stage) {
    copy(stage, ahead, 0, ahead.exists ? kKeys : 0);
    ptx::commit_copies();
    ahead = locate_next();
  }

  // Has the entries of the tables for the first units come all at once. They are looked up one
  // behind the other.
  __device__ __forceinline__ void prefetch_tables() const {
    if constexpr (kKind == Keys::Kind::kPaged) {
      const int key = (unit + lane() * stride - item.first_with_keys()) * kKeys;
      if (lane() > kStages || key < 0 || key >= item.seen.count) return;
      ptx::prefetch(table_of(lookup, item) + column_of(lookup, key));
    }
  }

  // Fills the ring. Calls `wait` between the keys that are settled and those that the kernel before
  // this one may write. Returns whether there were such, which are there when no copy is in flight
  // any more. A loop of two turns rather than two loops: a block runs this code once, and fetching
  // instructions takes longer than following them.
  template <typename Wait>
  __device__ __forceinline__ bool fill(Wait&& wait) {
    const Item first_item = item;
    const int first_unit = unit;
    bool late = false;
    prefetch_tables();
    __syncwarp();
    for (bool settled = true;; settled = false) {
#pragma unroll 1
      for (int stage = 0; stage <= kStages; ++stage) {
        ahead = locate_next();
        if (stage == kStages) break;
        const int from = settled ? 0 : max(ahead.settled, 0);
        copy(stage, ahead, from, !ahead.exists ? 0 : settled ? ahead.settled : kKeys);
        late = late || (ahead.exists && ahead.settled < kKeys);
        ptx::commit_copies();
      }
      if (!settled) return true;
      wait();
      if (!late) return false;
      item = first_item;
      unit = first_unit;
    }
  }
};

}  // namespace
}  // namespace stagegate::cuda

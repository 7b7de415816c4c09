#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_copy.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/ptx.cuh"

// In which order keys and values come to shared memory: every warp has a ring of units that it
// alone fills and uses. It runs on from one item to the next, so joining the results of an item
// leaves no gap in the stream from memory.
namespace stagegate::cuda {
namespace {

// Fills the ring of a warp with units unit, unit + stride, ... below end, of the row, but for lead
// units.
template <typename Copies, Keys::Kind kKind>
struct Loader {
  const Lookup& lookup;
  int head_tiles;  // that share a key head
  int stride;
  int end;
  Sizes sizes;
  int unit;
  Item item;  // of that unit or one before
  Copies copies;
  Located ahead{};  // the unit to copy next; its slots are looked up a turn before

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  // Looks up the next unit.
  __device__ __forceinline__ Located locate_next() {
    for (;; unit += stride) {
      if (unit >= end) return {false, -1, 0, 0};
      while (unit >= item.end()) advance<kKind>(item, lookup, sizes);
      if (unit >= item.first_with_keys()) break;
    }
    const int first = (unit - item.first_with_keys()) * kKeys;
    std::int32_t slot = -1;
    if constexpr (Copies::kTakesFirstSlot) {
      slot = locate<kKind>(lookup, item, first);
    } else {
      const int key = first + lane();
      if (lane() < kKeys && key < item.seen.count) slot = locate<kKind>(lookup, item, key);
    }
    unit += stride;
    const int kv_head = head_tiles == 1 ? item.tile : item.tile / head_tiles;
    return {true, slot, kv_head, settled_keys<kKind>(lookup, item) - first};
  }

  // Queues the next unit and looks up the one behind it.
  __device__ __forceinline__ void load(int stage) {
    copies.copy(stage, ahead);
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
  // this one may write. A loop of two turns rather than two loops: a block runs this code once, and
  // fetching instructions takes longer than following them.
  template <typename Wait>
  __device__ __forceinline__ void fill(Wait&& wait) {
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
        copies.copy_part(stage, ahead, settled);
        late = late || (ahead.exists && ahead.settled < kKeys);
      }
      if (!settled) return;
      wait();
      if (!late) return;
      item = first_item;
      unit = first_unit;
    }
  }
};

}  // namespace
}  // namespace stagegate::cuda

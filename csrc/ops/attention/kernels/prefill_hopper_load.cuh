#pragma once

#include <cuda.h>

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_hopper_items.cuh"
#include "ops/attention/kernels/prefill_hopper_shape.cuh"
#include "ops/ptx_hopper.cuh"

// The warp of the Hopper prefill kernel that loads: it takes items, and has the copy engine fill
// the tiles of queries, keys and values that they need.
namespace stagegate::cuda {
namespace {

struct Operands {
  CUtensorMap q;  // [T, heads, head_dim] in boxes of [tile_queries, group, 64]
  // [kv_heads, S / 8, head_dim / 64, 8, 64] in boxes of [1, box_slots / 8, head_dim / 64, 8, 64]:
  // what a block of the cache has for a head, or what a tile takes of it.
  CUtensorMap k;
  CUtensorMap v;
  void* out;
  int heads, group;
  int box_slots;  // of a block, as many as a tile takes
  ItemRules rules;
  float scale_log2;    // scale · log2(e)
  float* partials;     // [slot, warpgroup, kDim / 2 sums, 2 offsets and 2 totals, thread]
  unsigned* joined;    // [slot, warpgroup]: pieces that are done; zero before and after
  unsigned* taken;     // items that blocks have taken beyond their first; zero before and after
  unsigned* finished;  // blocks that are done; zero before and after
};

// The warps that load. Each takes part of the boxes of the keys or of the values, a lane a box, for
// the lanes of a warp have their copies started one after another.
constexpr int kLoadingWarps = kWarpgroup / kWarp;
constexpr int kWarpsOfEach = kLoadingWarps / 2;

template <typename T, int kDim>
struct Loader {
  using S = Shape<kDim>;
  using Items = Ring<Shared<T, kDim>::kItems>;
  const Operands& operands;
  const PagedKeys& keys;
  Shared<T, kDim>& shared;
  Fault* fault;
  int warp;
  Ring<S::kStages> stage{};
  Items items{};
  unsigned q_parity = 1;
  bool first = true;

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  __device__ __forceinline__ void load_queries(const Item& item) {
    constexpr unsigned kHalfBytes = S::kRows * kRowBytes;
    ptx::wait(&shared.q_empty, q_parity);
    q_parity ^= 1u;
    if (lane() != 0) return;
    const auto rows = static_cast<unsigned>(operands.rules.tile_queries * operands.group);
    ptx::arrive_expecting(&shared.q_full, rows * kRowBytes * S::kHalves);
#pragma unroll
    for (int half = 0; half < S::kHalves; ++half) {
      ptx::copy_box(shared.q + half * (kHalfBytes / sizeof(T)), operands.q, &shared.q_full,
                    half * kColumns, item.kv_head * operands.group, item.first_query);
    }
  }

  // The box of a tile that is this lane's; none where that is not below their number.
  __device__ __forceinline__ int box() const { return lane() * kWarpsOfEach + warp % kWarpsOfEach; }
  __device__ __forceinline__ int num_boxes() const { return kKeys / operands.box_slots; }

  // Where this lane's box of a tile begins, in groups of 8 slots. Where no row of the item sees a
  // key of it, that is the end of the cache, whose boxes are zeros.
  __device__ __forceinline__ int locate(const Item& item, int tile) const {
    const int position = tile * kKeys + box() * operands.box_slots;
    const auto end = static_cast<int>(keys.num_slots / kGroupKeys);
    if (box() >= num_boxes() || position >= item.seen + item.queries - 1) return end;
    int column = tile * num_boxes() + box();
    int within = 0;
    if (keys.block_size > kKeys) {
      const int tiles_of_block = keys.block_size / kKeys;
      column = tile / tiles_of_block;
      within = tile % tiles_of_block * kKeys;
    }
    const std::int32_t block = paged_block(keys, item.sequence, column, fault);
    return block < 0 ? end : (block * keys.block_size + within) / kGroupKeys;
  }

  // Loads this warp's part of an item's tiles of keys, or of values.
  __device__ __forceinline__ void load_tiles(const Item& item, const CUtensorMap& map, T* tiles,
                                             std::uint64_t* full, std::uint64_t* empty) {
    constexpr unsigned kTileBytes = kKeys * kDim * sizeof(T);
    const bool announces = warp % kWarpsOfEach == 0 && lane() == 0;
    const bool copies = box() < num_boxes();
    T* const own = tiles + box() * operands.box_slots * kDim;
    int slots = locate(item, item.first_tile);
    for (int tile = item.first_tile; tile < item.end_tile; ++tile) {
      const int next_slots = tile + 1 < item.end_tile ? locate(item, tile + 1) : 0;
      const int place = stage.place;
      ptx::wait(&empty[place], stage.parity ^ 1u);
      if (announces) ptx::arrive_expecting(&full[place], kTileBytes);
      if (copies) {
        ptx::copy_box(own + place * (kKeys * kDim), map, &full[place], 0, 0, 0, slots,
                      item.kv_head);
      }
      stage.advance();
      slots = next_slots;
    }
  }

  // Publishes an item for the other warps.
  __device__ __forceinline__ void publish(const Item& item) {
    ptx::wait(&shared.item_empty[items.place], items.parity ^ 1u);
    if (lane() == 0) {
      shared.items[items.place] = item;
      ptx::arrive(&shared.item_full[items.place]);
    }
    items.advance();
  }

  // The next item, for the first warp. Blocks begin with the items of their own numbers.
  __device__ __forceinline__ Item take(ItemList& list) {
    Item item;
    do {
      int index = static_cast<int>(blockIdx.x);
      if (!first) {
        unsigned taken = 0;
        if (lane() == 0) taken = atomicAdd(operands.taken, 1u);
        index = static_cast<int>(gridDim.x + __shfl_sync(0xffffffffu, taken, 0));
      }
      first = false;
      item = list.at(index);
    } while (item.sequence < -1);
    publish(item);
    return item;
  }

  // Loads its part of the items of this block.
  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      for (const CUtensorMap* map : {&operands.q, &operands.k, &operands.v}) {
        ptx::prefetch_map(*map);
      }
    }
    ItemList list{keys, operands.rules, fault};
    if (warp == 0) list.weigh();
    for (;;) {
      const Item item = warp == 0 ? take(list) : next_item(shared, items);
      if (item.sequence < 0) return;
      // By a warp of the values, which are needed last: the place of the queries is free when the
      // item before has its last scores.
      if (warp == kLoadingWarps - 1 && item.first_tile < item.end_tile) load_queries(item);
      if (warp < kWarpsOfEach) {
        load_tiles(item, operands.k, shared.k[0], shared.k_full, shared.k_empty);
      } else {
        load_tiles(item, operands.v, shared.v[0], shared.v_full, shared.v_empty);
      }
    }
  }
};

}  // namespace
}  // namespace stagegate::cuda

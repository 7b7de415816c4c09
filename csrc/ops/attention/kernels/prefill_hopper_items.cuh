#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_hopper_shape.cuh"

// Which rows and keys a thread block of the Hopper prefill kernel computes next.
namespace stagegate::cuda {
namespace {

// A piece of the keys of a tile of queries has at least so many tiles, and there are at most so
// many.
constexpr int kLeastTiles = 8;
constexpr int kMostPieces = 32;
constexpr int kLeastKeysToCut = 2 * kLeastTiles * kKeys;
// What a piece costs besides its keys, and what joining it costs: in tiles of keys, as measured.
constexpr float kCostOfPiece = 4.0f;
constexpr float kCostOfJoin = 0.75f;

// What the order of the items depends on.
struct ItemRules {
  int kv_heads;
  int tile_queries;  // queries of a full tile
  int key_bytes;     // of a position: the key and value of one head
  int most_slots;    // for partial results; 0: nothing is cut
};

// How the items of one sequence are made.
struct SequencePlan {
  int tiles;   // of queries
  int pieces;  // into which the keys of its last tile are cut
};

__device__ __forceinline__ int ceil_of(int a, int b) { return (a + b - 1) / b; }

// The items of a call in the order in which blocks take them: sequence by sequence, and of a
// sequence those that see the most keys first, so that light ones are left for the end. A warp goes
// through them, all lanes together; the numbers it asks for ascend.
struct ItemList {
  const PagedKeys& keys;
  const ItemRules& rules;
  Fault* fault;
  float share = 0.0f;    // key tiles of a block, were they spread evenly
  int base = 0;          // the sequences from here on ...
  int items_before = 0;  // ... begin with this item
  int slots_before = 0;  // ... and with this slot

  // Tiles of the queries of a sequence; 0 where its metadata is wrong: check_metadata says so.
  __device__ __forceinline__ int num_tiles(int sequence) const {
    if (sequence >= keys.sequences) return 0;
    const std::int64_t queries = num_queries(keys, sequence);
    if (queries <= 0 || queries > keys.queries) return 0;
    return ceil_of(static_cast<int>(queries), rules.tile_queries);
  }

  // Key tiles that the first and the last tile of queries see.
  struct Seen {
    float first;
    float last;
  };
  __device__ __forceinline__ Seen seen(int sequence) const {
    const int length = keys.context_lens[sequence];
    const auto cached = static_cast<float>(length - num_queries(keys, sequence));
    const float last = ceilf(static_cast<float>(length) / kKeys);
    return {fminf(last, ceilf((cached + static_cast<float>(rules.tile_queries)) / kKeys)), last};
  }

  // Adds up the work of a call.
  __device__ __forceinline__ void weigh() {
    if (rules.most_slots == 0) return;
    float total = 0.0f;
    for (int b = static_cast<int>(threadIdx.x) % kWarp; b < keys.sequences; b += kWarp) {
      const int tiles = num_tiles(b);
      if (tiles == 0) continue;
      const Seen by = seen(b);
      total += static_cast<float>(tiles * rules.kv_heads) * (by.first + by.last) * 0.5f;
    }
    share = warp_sum(total) / static_cast<float>(gridDim.x);
  }

  // Cuts the keys of a sequence where that lets the blocks finish sooner.
  __device__ __forceinline__ SequencePlan plan(int sequence) const {
    const int tiles = num_tiles(sequence);
    if (tiles == 0 || rules.most_slots == 0) return {tiles, 1};
    const Seen by = seen(sequence);
    if (by.last < 2 * kLeastTiles) return {tiles, 1};
    const auto items = static_cast<float>(tiles * rules.kv_heads);
    const auto blocks = static_cast<float>(gridDim.x);
    // Where nearly all items are equal, they go in waves; else light ones fill the gaps.
    const bool waves = by.first * 2.0f > by.last && items * by.last > blocks * share * 0.5f;
    // Pieces of twice a block's share pay: less is hidden, and decodes that are left whole read
    // memory while other blocks compute.
    if (!waves && by.last <= 2.0f * share) return {tiles, 1};
    SequencePlan best{tiles, 1};
    float least = 0.0f;
    for (int pieces = 1; pieces <= kMostPieces; pieces += max(1, pieces / 4)) {
      const auto count = static_cast<float>(pieces);
      if (pieces > 1 && by.last < kLeastTiles * count) break;
      if (pieces > 1 && items * count > static_cast<float>(rules.most_slots)) break;
      const float of_piece = ceilf(by.last / count) + (pieces > 1 ? kCostOfPiece : 0.0f);
      const float of_block = share + items / blocks * (count - 1.0f) * kCostOfPiece;
      const float cost =
          (waves ? ceilf(items * count / blocks) * of_piece : fmaxf(of_block, of_piece)) +
          (pieces > 1 ? kCostOfJoin * count : 0.0f);
      if (pieces > 1 && cost >= least) continue;
      least = cost;
      best.pieces = pieces;
    }
    return best;
  }

  // More items than a call can have whose metadata is right.
  __device__ __forceinline__ int most() const {
    if (keys.first_query[0] != 0 || keys.first_query[keys.sequences] != keys.queries) return 0;
    return rules.kv_heads * (ceil_of(keys.queries, rules.tile_queries) + keys.sequences) +
           rules.most_slots;
  }

  // Item `index`; sequence -1 past the last one, -2 where there is nothing to do.
  __device__ __forceinline__ Item at(int index) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    while (base < keys.sequences && index < most()) {
      SequencePlan own = plan(base + lane);
      int slots = own.pieces == 1 ? 0 : own.tiles * own.pieces * rules.kv_heads;
      int slots_through = through(slots);
      if (slots_before + slots_through > rules.most_slots) own.pieces = 1;
      const int items_through = through(own.tiles * own.pieces * rules.kv_heads);
      const unsigned reached = __ballot_sync(0xffffffffu, index < items_before + items_through);
      if (reached != 0) {
        const int source = __ffs(static_cast<int>(reached)) - 1;
        own.tiles = __shfl_sync(0xffffffffu, own.tiles, source);
        own.pieces = __shfl_sync(0xffffffffu, own.pieces, source);
        const int end = __shfl_sync(0xffffffffu, items_before + items_through, source);
        const int slot = __shfl_sync(0xffffffffu, slots_before + slots_through - slots, source);
        return choose(base + source, own, index - end + own.tiles * own.pieces * rules.kv_heads,
                      slot);
      }
      items_before += __shfl_sync(0xffffffffu, items_through, kWarp - 1);
      slots_before += __shfl_sync(0xffffffffu, slots_through, kWarp - 1);
      base += kWarp;
    }
    Item none{};
    none.sequence = -1;
    return none;
  }

  // The sum over the lanes up to this one.
  static __device__ __forceinline__ int through(int value) {
#pragma unroll
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, value, offset);
      if (static_cast<int>(threadIdx.x) % kWarp >= offset) value += other;
    }
    return value;
  }

  // The own-th item of a sequence whose first slot is `slot`.
  __device__ __forceinline__ Item choose(int sequence, const SequencePlan& plan, int own,
                                         int slot) const {
    const int piece = own % plan.pieces;
    const int whole = own / plan.pieces;
    // Items of the heads alternate where their keys and values stay in the second cache together.
    constexpr std::int64_t kCacheBytes = 24 << 20;
    const std::int64_t bytes =
        std::int64_t{keys.context_lens[sequence]} * rules.key_bytes * rules.kv_heads;
    const int alternating = bytes <= kCacheBytes ? rules.kv_heads : 1;
    const int round = whole / (plan.tiles * alternating);
    const int of_round = whole % (plan.tiles * alternating);
    Item item = whole_item(sequence, round * alternating + of_round % alternating,
                           plan.tiles - 1 - of_round / alternating);
    if (plan.pieces == 1 || item.sequence < 0) return item;
    // A tile that sees fewer keys than the last is cut into fewer pieces.
    const int most_tiles = ceil_of(ceil_of(item.length, kKeys), plan.pieces);
    item.pieces = max(1, ceil_of(item.end_tile, most_tiles));
    const int tiles = ceil_of(item.end_tile, item.pieces);
    item.pieces = max(1, ceil_of(item.end_tile, tiles));
    item.piece = piece;
    item.slot = slot + own - piece;
    item.first_tile = piece * tiles;
    item.end_tile = min(item.end_tile, item.first_tile + tiles);
    if (piece >= item.pieces) item.sequence = -2;
    return item;
  }

  // All keys of a tile of queries; sequence -2 where the metadata is wrong.
  __device__ __forceinline__ Item whole_item(int sequence, int kv_head, int tile) const {
    Item item{};
    item.sequence = -2;
    const int length = checked_length(keys, sequence, fault);
    const int begin = keys.first_query[sequence];
    const int end = keys.first_query[sequence + 1];
    if (length < 0 || begin < 0 || end > keys.queries) return item;
    const int first = tile * rules.tile_queries;
    item.sequence = sequence;
    item.kv_head = kv_head;
    item.first_query = begin + first;
    item.queries = min(rules.tile_queries, end - begin - first);
    item.seen = length - (end - begin) + first + 1;
    item.length = length;
    item.end_tile = length == 0 ? 0 : ceil_of(item.seen + item.queries - 1, kKeys);
    item.pieces = 1;
    return item;
  }
};

}  // namespace
}  // namespace stagegate::cuda

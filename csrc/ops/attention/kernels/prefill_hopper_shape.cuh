#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/kernels.h"
#include "ops/ptx_hopper.cuh"

// How large the tiles of the Hopper prefill kernel are, and what a thread block keeps in shared
// memory.
namespace stagegate::cuda {
namespace {

constexpr int kKeys = kHopperKeys;  // of a tile
constexpr int kWarpgroup = 128;     // threads
constexpr int kGroupRows = 64;      // rows that a warpgroup multiplies at once
constexpr int kColumns = 64;        // elements in the 128 bytes that a swizzled row of a tile has
constexpr unsigned kRowBytes = 128;
constexpr int kGroupKeys = 8;  // rows of a swizzled pattern
constexpr unsigned kPatternBytes = kGroupKeys * kRowBytes;

template <int kHeadDim>
struct Shape {
  static constexpr int kDim = kHeadDim;
  // Warpgroups that multiply; one more loads. 64 columns of a sum leave registers for a third.
  static constexpr int kConsumers = kDim == 64 ? 3 : 2;
  static constexpr int kRows = kConsumers * kGroupRows;  // of a tile of queries
  static constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
  static constexpr int kHalves = kDim / kColumns;  // a row is stored in parts of 64 columns
  static constexpr unsigned kKeyStep = kHalves * kPatternBytes;  // from 8 keys to the next 8
  static constexpr int kStages = kDim == 64 ? 4 : 2;             // tiles of keys in shared memory
  static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 56;
  static constexpr int kConsumerRegisters = kConsumers == 3 ? 160 : 224;
};

// Queries of one sequence, with the heads that share a key head, and a range of the keys that they
// see. The queries and heads are the rows of a tile, query by query: row r is query
// min(r / group, queries - 1), head r % group.
struct Item {
  std::int32_t sequence;  // -1: nothing is left to do
  std::int32_t kv_head;
  std::int32_t first_query;  // of q and out
  std::int32_t queries;
  std::int32_t seen;        // keys that the first of them sees
  std::int32_t length;      // of the sequence
  std::int32_t first_tile;  // of keys
  std::int32_t end_tile;    // equal for a sequence without tokens
  // Where the keys are cut into pieces, each gives partial results, and the last to be done joins
  // them.
  std::int32_t piece;
  std::int32_t pieces;
  std::int32_t slot;  // of the partial results of piece 0
};

template <typename T, int kDim>
struct Shared {
  using S = Shape<kDim>;
  static constexpr int kItems = 2;
  // Tiles, 1024-byte aligned, of swizzled rows of 64 elements: [half][row] of the queries,
  // [8 keys][half][key of the 8] of keys and values, so that a block of the cache is one box.
  T q[S::kRows * kDim];
  T k[S::kStages][kKeys * kDim];
  T v[S::kStages][kKeys * kDim];
  // A barrier of each pair ends a phase when the place was filled, or when nobody reads it any
  // more.
  std::uint64_t q_full, q_empty;
  std::uint64_t k_full[S::kStages], k_empty[S::kStages];
  std::uint64_t v_full[S::kStages], v_empty[S::kStages];
  std::uint64_t item_full[kItems], item_empty[kItems];
  Item items[kItems];
  bool is_last[S::kConsumers];  // whether a warpgroup's piece is the last to be done
};

// Where in a ring of kPlaces a warp is, and the parity of the phase it waits for there.
template <int kPlaces>
struct Ring {
  int place = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void advance() {
    if (++place == kPlaces) {
      place = 0;
      parity ^= 1u;
    }
  }
};

// The next item that was taken, for a warp. All lanes get it.
template <typename T, int kDim>
__device__ __forceinline__ Item next_item(Shared<T, kDim>& shared,
                                          Ring<Shared<T, kDim>::kItems>& place) {
  ptx::wait(&shared.item_full[place.place], place.parity);
  const Item item = shared.items[place.place];
  __syncwarp();
  if (threadIdx.x % kWarp == 0) ptx::arrive(&shared.item_empty[place.place]);
  place.advance();
  return item;
}

}  // namespace
}  // namespace stagegate::cuda

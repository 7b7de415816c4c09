#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_tile.cuh"

// What a thread block of the prefill kernel is given, what it keeps in shared memory, and which
// rows are its own.
namespace stagegate::cuda {
namespace {

constexpr int kThreads = 128;

struct Operands {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  std::int64_t q_stride, k_stride, v_stride;
  int heads, group;
  float scale_log2;  // scale · log2(e)
};

// The sequence and the tile in it that a thread block serves; sequence -1 for blocks past the last
// tile. All lanes of a warp take part and get the same answer.
struct Tile {
  int sequence;
  int index;
};
__device__ inline Tile find_tile(const PagedKeys& keys, int group, int block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int before = 0;
  for (int base = 0; base < keys.sequences; base += kWarp) {
    const int b = base + lane;
    int tiles = 0;
    if (b < keys.sequences) {
      const std::int64_t queries = num_queries(keys, b);
      const bool some = queries > 0 && queries <= keys.queries;
      tiles = some ? (static_cast<int>(queries) * group + kRows - 1) / kRows : 0;
    }
    int through = tiles;  // tiles up to and with this lane's sequence
#pragma unroll
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, through, offset);
      if (lane >= offset) through += other;
    }
    const unsigned reached = __ballot_sync(0xffffffffu, block < before + through);
    if (reached != 0) {
      const int at = __ffs(static_cast<int>(reached)) - 1;
      const int first = __shfl_sync(0xffffffffu, before + through - tiles, at);
      return {base + at, block - first};
    }
    before += __shfl_sync(0xffffffffu, through, kWarp - 1);
  }
  return {-1, 0};
}

template <typename T, int kDim>
struct Shared {
  T q[kRows * kDim];
  T k[2][kKeys * kDim];  // two tiles
  T v[2][kKeys * kDim];
  std::int32_t slots[2][kKeys];
};

// Rows of the result, or of the queries behind them: of a sequence's tile, or of a warp.
struct Rows {
  int first_query;  // of the sequence
  int first;
  int last;  // of the tile
  int kv_head;
};

// What a thread block serves: rows of one sequence, and the keys that they see.
struct Work {
  int sequence;
  Rows rows;
  int cached;         // keys before the first query
  int seen_by_first;  // keys that the first row sees
  int seen_by_last;
  int key_tiles;  // 0 for a sequence without tokens
};

// Fills in the work of this block. False: it has none, or its metadata is wrong.
__device__ __forceinline__ bool find_work(const PagedKeys& keys, int group, Fault* fault,
                                          Work& work) {
  if (keys.first_query[0] != 0 || keys.first_query[keys.sequences] != keys.queries) return false;
  // The last tiles of a long sequence see the most keys, so they go first.
  const Tile tile = find_tile(keys, group, static_cast<int>(gridDim.x - 1 - blockIdx.x));
  if (tile.sequence < 0) return false;
  const int length = checked_length(keys, tile.sequence, fault);
  const int first_query = keys.first_query[tile.sequence];
  const int end_query = keys.first_query[tile.sequence + 1];
  if (length < 0 || first_query < 0 || end_query > keys.queries) return false;
  const int queries = end_query - first_query;
  const int first_row = tile.index * kRows;
  const int last_row = min(first_row + kRows, queries * group) - 1;
  const int cached = length - queries;
  const int seen_by_last = cached + last_row / group + 1;
  work = {tile.sequence, {first_query, first_row, last_row, static_cast<int>(blockIdx.y)},
          cached,        cached + first_row / group + 1,
          seen_by_last,  length == 0 ? 0 : (seen_by_last + kKeys - 1) / kKeys};
  return true;
}

}  // namespace
}  // namespace stagegate::cuda

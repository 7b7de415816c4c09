#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_tile.cuh"

// What a thread block of the decode kernel is given, what it keeps in shared memory, and which keys
// are its own.
namespace stagegate::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kStages = 3;  // tiles of a warp in shared memory
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kMinKeysOfSplit = kWarps * kKeys;
constexpr int kMaxSplits = 64;

struct Operands {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  std::int64_t q_stride, k_stride, v_stride;
  int heads, group;
  int head_tiles;  // of a group
  int splits;
  float scale_log2;   // scale · log2(e)
  float* sums;        // [query, head, split, head_dim] of weighted values
  float2* weights;    // [query, head, split]: maximum in the exponent of 2, and total
  unsigned* arrived;  // [query, head tile]: splits that are done; zero before and after
};

template <typename T, int kDim>
struct Shared {
  // Rows of f32 are shifted against each other so that a warp's stores hit different banks.
  static constexpr int kSumRow = kDim + 8;
  union {
    struct {
      T k[kWarps][kStages][kKeys * kDim];
      T v[kWarps][kStages][kKeys * kDim];
    } tiles;
    float sums[kWarps][kRows * kSumRow];
  };
  float offsets[kWarps][kRows];
  float totals[kWarps][kRows];
  bool is_last;
};

// The keys of a query that a thread block goes through.
struct Split {
  int index;
  int splits;  // of this query; a block whose index is not below has nothing to do
  int first_key;
  int count;
};

// The part `split` of equal ones, as many as the keys of the query are worth.
__device__ __forceinline__ Split split_keys(int keys, int max_splits, int split) {
  const int share = (keys + max_splits - 1) / max_splits;
  const int keys_of_split =
      max(1, (share + kMinKeysOfSplit - 1) / kMinKeysOfSplit) * kMinKeysOfSplit;
  const int splits = max(1, (keys + keys_of_split - 1) / keys_of_split);
  const int first_key = split * keys_of_split;
  return {split, splits, first_key, min(keys_of_split, keys - first_key)};
}

}  // namespace
}  // namespace stagegate::cuda

#pragma once

#include <algorithm>

#include "device/cuda/launch.h"
#include "ops/attention/kernels/fold.cuh"
#include "ops/attention/kernels/general.h"
#include "ops/attention/kernels/general_chunk.cuh"
#include "ops/attention/kernels/kernels.h"
#include "ops/attention/kernels/keys.cuh"

// The attention kernel on CUDA cores. A thread block serves one query and up to eight heads of one
// key head, which share every key and value it loads. It goes through the keys in chunks: slots,
// scores, weights, weighted sum, each phase spread over all threads with the result in shared
// memory. With few queries several blocks share the chunks and a second kernel folds them.
namespace stagegate::cuda {
namespace {

struct Call {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  std::int64_t q_stride, k_stride, v_stride;
  int heads, kv_heads, group, head_dim;
  int head_tiles;  // of a group
  int chunks;      // with a partial result each; 0: one block goes through all and keeps the sum
  float scale;
  float* sums;      // [query, head, chunk, head_dim] of partial results
  float2* weights;  // [query, head, chunk]: maximum and total
};

// The heads of one query that a thread block serves.
struct HeadTile {
  int query;
  int first_head;
  int num_heads;
  int head_dim;
};

// Writes the slots of the `count` keys of a chunk; -1 after the last key and for a missing one.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void locate_keys(const Keys& keys, const Visible& seen, int query,
                                            int start, int count, Fault* fault,
                                            Shared<T, kDim, kHeads>& shared) {
  for (int i = static_cast<int>(threadIdx.x); i < kChunk; i += kThreads) {
    shared.slots[i] = i < count ? slot_of(keys, seen, query, start + i, fault) : -1;
  }
}

// Adds up what the warps have of a chunk. The sum joins the running ones of this thread, or goes to
// fold_kernel with the chunk's maximum and total where several blocks share the chunks.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void keep_chunk(const Call& call, const HeadTile& tile, bool split,
                                           int chunk, const Shared<T, kDim, kHeads>& shared,
                                           float (&running)[Shared<T, kDim, kHeads>::kOwned]) {
  using Memory = Shared<T, kDim, kHeads>;
#pragma unroll
  for (int j = 0; j < Memory::kOwned; ++j) {
    const int e = static_cast<int>(threadIdx.x) + j * kThreads;
    if (e >= kHeads * Memory::kRow) break;
    const int head = e / Memory::kRow;
    const int d = e % Memory::kRow;
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += shared.sums[w][head][d];
    if (!split) {
      running[j] = folded(shared.folds[head], running[j], sum);
    } else if (head < tile.num_heads && d < tile.head_dim) {
      const std::int64_t row =
          static_cast<std::int64_t>(tile.query) * call.heads + tile.first_head + head;
      const std::int64_t at = row * call.chunks + chunk;
      call.sums[at * tile.head_dim + d] = sum;
      if (d == 0) call.weights[at] = {shared.maximum[head], shared.total[head]};
    }
  }
}

// Writes the running sums of this thread over the totals of their weights.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void store_result(
    const Call& call, const HeadTile& tile, const Shared<T, kDim, kHeads>& shared,
    const float (&running)[Shared<T, kDim, kHeads>::kOwned]) {
  using Memory = Shared<T, kDim, kHeads>;
#pragma unroll
  for (int j = 0; j < Memory::kOwned; ++j) {
    const int e = static_cast<int>(threadIdx.x) + j * kThreads;
    if (e >= kHeads * Memory::kRow) break;
    const int head = e / Memory::kRow;
    const int d = e % Memory::kRow;
    if (head >= tile.num_heads || d >= tile.head_dim) continue;
    const std::int64_t row =
        static_cast<std::int64_t>(tile.query) * call.heads + tile.first_head + head;
    static_cast<T*>(call.out)[row * tile.head_dim + d] = from_float<T>(
        normalized(running[j], shared.running_total[head], shared.running_maximum[head]));
  }
}

template <typename T, int kDim, int kHeads>
__global__ __launch_bounds__(kThreads) void attention_kernel(const __grid_constant__ Call call,
                                                             const __grid_constant__ Keys keys,
                                                             Fault* fault) {
  using Memory = Shared<T, kDim, kHeads>;
  extern __shared__ __align__(16) unsigned char memory[];
  Memory& shared = *reinterpret_cast<Memory*>(memory);

  const int thread = static_cast<int>(threadIdx.x);
  const int query = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y) / call.head_tiles;
  const int first_of_group = static_cast<int>(blockIdx.y) % call.head_tiles * kMaxHeadTile;
  const int head_dim = kDim != 0 ? kDim : call.head_dim;
  const HeadTile tile{query, kv_head * call.group + first_of_group,
                      min(kHeads, call.group - first_of_group), head_dim};

  if (blockIdx.y == 0 && blockIdx.z == 0) {
    check_metadata(keys, static_cast<std::int64_t>(query) * kThreads + thread,
                   static_cast<std::int64_t>(gridDim.x) * kThreads, fault);
  }
  const Visible seen = visible(keys, query, fault);
  const bool split = call.chunks != 0;
  const int first_chunk = static_cast<int>(blockIdx.z);
  if (split && first_chunk * kChunk >= seen.count) return;  // the fold leaves it out as well

  const T* q = static_cast<const T*>(call.q) + query * call.q_stride +
               static_cast<std::int64_t>(tile.first_head) * head_dim;
  load_query(q, tile.num_heads, head_dim, call.scale, shared);
  if (thread < kHeads) {
    shared.running_maximum[thread] = -INFINITY;
    shared.running_total[thread] = 0.0f;
  }
  float running[Memory::kOwned] = {};
  const T* k = static_cast<const T*>(call.k) + kv_head * head_dim;
  const T* v = static_cast<const T*>(call.v) + kv_head * head_dim;

  const KeyPart part{thread / Memory::kLanes, thread % Memory::kLanes * kPart};
  const int step = static_cast<int>(gridDim.z) * kChunk;
  for (int start = first_chunk * kChunk; start < seen.count; start += step) {
    const int count = min(kChunk, seen.count - start);
    locate_keys(keys, seen, query, start, count, fault, shared);
    __syncthreads();
    compute_scores<T, kDim, kHeads>(k, call.k_stride, head_dim, count, part, shared);
    __syncthreads();
    compute_weights(count, shared);
    __syncthreads();
    sum_values<T, kDim, kHeads>(v, call.v_stride, head_dim, count, part, shared);
    fold_weights(shared);
    __syncthreads();
    keep_chunk(call, tile, split, start / kChunk, shared, running);
    // The next chunk writes slots, which nobody reads any more, and meets a barrier before the
    // rest.
  }
  if (split) return;
  __syncthreads();
  store_result(call, tile, shared, running);
}

// Folds the chunks of a (query, head) in order.
template <typename T>
__global__ void fold_kernel(const __grid_constant__ Call call, const __grid_constant__ Keys keys,
                            Fault* fault) {
  const int query = static_cast<int>(blockIdx.x);
  const int count = visible(keys, query, fault).count;
  const int chunks = (count + kChunk - 1) / kChunk;
  const std::int64_t row = static_cast<std::int64_t>(query) * call.heads + blockIdx.y;
  const float* sums = call.sums + row * call.chunks * call.head_dim;
  const float2* weights = call.weights + row * call.chunks;
  const int d = static_cast<int>(threadIdx.x);
  if (d >= call.head_dim) return;
  float maximum = -INFINITY;
  float total = 0.0f;
  float sum = 0.0f;
#pragma unroll 4
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const float2 weight = weights[chunk];
    const float part = sums[static_cast<std::int64_t>(chunk) * call.head_dim + d];
    const Fold by = fold(maximum, weight.x);
    total = folded(by, total, weight.y);
    sum = folded(by, sum, part);
    maximum = by.maximum;
  }
  static_cast<T*>(call.out)[row * call.head_dim + d] =
      from_float<T>(normalized(sum, total, maximum));
}

template <typename T, int kDim, int kHeads>
void launch_attention(const Context& context, const Call& call, const Keys& keys, dim3 grid) {
  launch(attention_kernel<T, kDim, kHeads>, grid, dim3(kThreads), sizeof(Shared<T, kDim, kHeads>),
         context, call, keys, context.stream->fault());
}

template <typename T, int kDim>
void launch_heads(const Context& context, const Call& call, const Keys& keys, dim3 grid) {
  if constexpr (kDim != 0) {
    if (call.group == 1) return launch_attention<T, kDim, 1>(context, call, keys, grid);
    if (call.group == 2) return launch_attention<T, kDim, 2>(context, call, keys, grid);
    if (call.group <= 4) return launch_attention<T, kDim, 4>(context, call, keys, grid);
    if (call.group <= 6) return launch_attention<T, kDim, 6>(context, call, keys, grid);
  }
  launch_attention<T, kDim, kMaxHeadTile>(context, call, keys, grid);
}

}  // namespace

template <typename T>
void attend_general(const Context& context, const AttentionCall& operands) {
  const auto& [q, k, v, out, scale, form] = operands;
  const Keys keys = device_keys(operands);
  const std::int64_t queries = q.dim(0);
  const std::int64_t head_dim = q.dim(2);
  Call call{};
  call.q = q.raw_data();
  call.k = k.raw_data();
  call.v = v.raw_data();
  call.out = out.raw_data();
  call.q_stride = q.stride(0);
  call.k_stride = k.stride(0);
  call.v_stride = v.stride(0);
  call.heads = static_cast<int>(q.dim(1));
  call.kv_heads = static_cast<int>(k.dim(1));
  call.group = call.heads / call.kv_heads;
  call.head_dim = static_cast<int>(head_dim);
  call.head_tiles = static_cast<int>(ceil_div(call.group, kMaxHeadTile));
  call.scale = scale;

  // Chunks are spread over blocks while the queries alone leave multiprocessors idle, and no wider:
  // a table has room for the longest sequence, so most blocks of a wide grid would find nothing to
  // do. Any spread gives the same bits, so the choice is free.
  constexpr std::int64_t kBlocksPerMultiprocessor = 12;
  constexpr std::int64_t kMaxPartialBytes = std::int64_t{256} << 20;
  const std::int64_t blocks = queries * call.kv_heads * call.head_tiles;
  const std::int64_t chunks = (max_keys(operands) + kChunk - 1) / kChunk;
  const std::int64_t wanted =
      (kBlocksPerMultiprocessor * context.stream->num_multiprocessors() + blocks - 1) / blocks;
  const std::int64_t splits = std::min({chunks, wanted, std::int64_t{65535}});
  const std::int64_t partials = queries * call.heads * chunks;
  const std::int64_t bytes =
      partials * static_cast<std::int64_t>(head_dim * sizeof(float) + sizeof(float2));
  const bool split = splits > 1 && bytes <= kMaxPartialBytes;
  if (split) {
    call.chunks = static_cast<int>(chunks);
    call.weights = static_cast<float2*>(context.stream->scratch(static_cast<std::size_t>(bytes)));
    call.sums = reinterpret_cast<float*>(call.weights + partials);
  }
  const dim3 grid(static_cast<unsigned>(queries),
                  static_cast<unsigned>(call.kv_heads * call.head_tiles),
                  split ? static_cast<unsigned>(splits) : 1u);
  const bool aligned = rows_aligned(k) && rows_aligned(v);
  if (aligned && head_dim == 64) {
    launch_heads<T, 64>(context, call, keys, grid);
  } else if (aligned && head_dim == 128) {
    launch_heads<T, 128>(context, call, keys, grid);
  } else {
    launch_heads<T, 0>(context, call, keys, grid);
  }
  if (split) {
    const unsigned threads = ceil_div(head_dim, kWarp) * kWarp;
    launch(fold_kernel<T>, dim3(static_cast<unsigned>(queries), static_cast<unsigned>(call.heads)),
           dim3(threads), 0, context, call, keys, context.stream->fault());
  }
}

}  // namespace stagegate::cuda

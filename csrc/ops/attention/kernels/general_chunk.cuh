#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/fold.cuh"
#include "ops/attention/kernels/kernels.h"

// What a thread block of the general kernel keeps in shared memory for a chunk of keys, and what it
// does there.
namespace stagegate::cuda {
namespace {

// Query heads of one key head that a thread block serves; a larger group takes several.
constexpr int kMaxHeadTile = 8;
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPart = 8;   // neighbouring elements of a key that one thread holds
constexpr int kAhead = 4;  // keys a thread has in flight

// Part of a row as floats. kDim 0: any head_dim, any alignment.
template <typename T, int kDim>
__device__ inline void load_part(const T* row, int first, int head_dim, float* part) {
  if constexpr (kDim != 0) {
    constexpr int kCount = 16 / sizeof(T);
#pragma unroll
    for (int piece = 0; piece < kPart / kCount; ++piece) {
      const auto pack = *reinterpret_cast<const Pack<T>*>(row + first + piece * kCount);
#pragma unroll
      for (int e = 0; e < kCount; ++e) part[piece * kCount + e] = to_float(pack.values[e]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < kPart; ++e) {
      part[e] = first + e < head_dim ? to_float(row[first + e]) : 0.0f;
    }
  }
}

template <typename T, int kDim, int kHeads>
struct Shared {
  static constexpr int kRow = kDim != 0 ? kDim : kMaxHeadDim;
  std::int32_t slots[kChunk];
  float q[kHeads][kRow];
  float weights[kChunk][kHeads];  // scores first
  float sums[kWarps][kHeads][kRow];
  float maximum[kHeads], total[kHeads];
  float running_maximum[kHeads], running_total[kHeads];
  Fold folds[kHeads];
};

// The scaled queries of the heads; zeros for heads and elements that there are not.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void load_query(const T* q, int num_heads, int head_dim, float scale,
                                           Shared<T, kDim, kHeads>& shared) {
  constexpr int kRow = Shared<T, kDim, kHeads>::kRow;
  for (int e = static_cast<int>(threadIdx.x); e < kHeads * kRow; e += kThreads) {
    const int head = e / kRow;
    const int d = e % kRow;
    shared.q[head][d] =
        head < num_heads && d < head_dim ? to_float(q[head * head_dim + d]) * scale : 0.0f;
  }
}

// Scores of the `count` keys of a chunk to weights, in place, with their maximum and total.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void compute_weights(int count, Shared<T, kDim, kHeads>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int h = warp; h < kHeads; h += kWarps) {
    float maximum = -INFINITY;
    for (int i = lane; i < count; i += kWarp) maximum = fmaxf(maximum, shared.weights[i][h]);
    maximum = warp_max(maximum);
    float total = 0.0f;
    for (int i = lane; i < count; i += kWarp) {
      const float score = shared.weights[i][h];
      const float weight = score == -INFINITY ? 0.0f : expf(score - maximum);
      shared.weights[i][h] = weight;
      total += weight;
    }
    total = warp_sum(total);
    if (lane == 0) {
      shared.maximum[h] = isnan(total) ? total : maximum;
      shared.total[h] = total;
    }
  }
}

// Scores of the `count` keys of a chunk, to shared.weights.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void compute_scores(const T* k, std::int64_t k_stride, int head_dim,
                                               int count, Shared<T, kDim, kHeads>& shared) {
  using Memory = Shared<T, kDim, kHeads>;
  constexpr int kLanes = Memory::kRow / kPart;  // threads that share a key
  constexpr int kStreams = kThreads / kLanes;   // keys read at a time
  const int thread = static_cast<int>(threadIdx.x);
  const int part = thread % kLanes * kPart;
  const int stream = thread / kLanes;
  float mine[kHeads][kPart];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int e = 0; e < kPart; ++e) mine[h][e] = shared.q[h][part + e];
  }
  // Every thread of a warp goes through as many rounds: they exchange sums.
  for (int round = 0; round < count; round += kStreams * kAhead) {
    float key[kAhead][kPart];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = round + a * kStreams + stream;
      const std::int32_t slot = i < kChunk ? shared.slots[i] : -1;
      if (slot >= 0) {
        load_part<T, kDim>(k + slot * k_stride, part, head_dim, key[a]);
      } else {
#pragma unroll
        for (int e = 0; e < kPart; ++e) key[a][e] = 0.0f;
      }
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = round + a * kStreams + stream;
      float score[kHeads];
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        score[h] = 0.0f;
#pragma unroll
        for (int e = 0; e < kPart; ++e) score[h] = fmaf(mine[h][e], key[a][e], score[h]);
      }
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) {
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          score[h] += __shfl_xor_sync(0xffffffffu, score[h], offset);
        }
      }
      if (i < count && thread % kLanes == 0) {
        const bool left_out = shared.slots[i] < 0;
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          shared.weights[i][h] = left_out ? -INFINITY : score[h];
        }
      }
    }
  }
}

}  // namespace
}  // namespace stagegate::cuda

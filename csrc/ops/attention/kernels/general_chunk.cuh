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
  static constexpr int kLanes = kRow / kPart;         // threads that share a key
  static constexpr int kStreams = kThreads / kLanes;  // keys read at a time
  // What a thread owns of the sums: elements thread, thread + kThreads, ... of [kHeads, kRow].
  static constexpr int kOwned = (kHeads * kRow + kThreads - 1) / kThreads;
  std::int32_t slots[kChunk];
  float q[kHeads][kRow];
  float weights[kChunk][kHeads];  // scores first
  float sums[kWarps][kHeads][kRow];
  float maximum[kHeads], total[kHeads];
  float running_maximum[kHeads], running_total[kHeads];
  Fold folds[kHeads];
};

// What a thread reads of a chunk: kPart elements, from `first` on, of every kStreams-th key.
struct KeyPart {
  int stream;  // the first of these keys
  int first;
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

// Scores of the `count` keys of a chunk, to shared.weights.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void compute_scores(const T* k, std::int64_t k_stride, int head_dim,
                                               int count, KeyPart part,
                                               Shared<T, kDim, kHeads>& shared) {
  constexpr int kLanes = Shared<T, kDim, kHeads>::kLanes;
  constexpr int kStreams = Shared<T, kDim, kHeads>::kStreams;
  const int thread = static_cast<int>(threadIdx.x);
  float mine[kHeads][kPart];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int e = 0; e < kPart; ++e) mine[h][e] = shared.q[h][part.first + e];
  }
  // Every thread of a warp goes through as many rounds: they exchange sums.
  for (int round = 0; round < count; round += kStreams * kAhead) {
    float key[kAhead][kPart];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = round + a * kStreams + part.stream;
      const std::int32_t slot = i < kChunk ? shared.slots[i] : -1;
      if (slot >= 0) {
        load_part<T, kDim>(k + slot * k_stride, part.first, head_dim, key[a]);
      } else {
#pragma unroll
        for (int e = 0; e < kPart; ++e) key[a][e] = 0.0f;
      }
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = round + a * kStreams + part.stream;
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

// The values of the `count` keys of a chunk times their weights: each warp its share of the keys,
// to shared.sums[warp].
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void sum_values(const T* v, std::int64_t v_stride, int head_dim,
                                           int count, KeyPart part,
                                           Shared<T, kDim, kHeads>& shared) {
  constexpr int kLanes = Shared<T, kDim, kHeads>::kLanes;
  constexpr int kStreams = Shared<T, kDim, kHeads>::kStreams;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp = thread / kWarp;
  float sum[kHeads][kPart];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int e = 0; e < kPart; ++e) sum[h][e] = 0.0f;
  }
  for (int round = part.stream; round < count; round += kStreams * kAhead) {
    float value[kAhead][kPart];
    bool present[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int i = round + a * kStreams;
      const std::int32_t slot = i < kChunk ? shared.slots[i] : -1;
      present[a] = slot >= 0;
      if (present[a]) load_part<T, kDim>(v + slot * v_stride, part.first, head_dim, value[a]);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (!present[a]) continue;
      const int i = round + a * kStreams;
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const float weight = shared.weights[i][h];
#pragma unroll
        for (int e = 0; e < kPart; ++e) sum[h][e] = fmaf(weight, value[a][e], sum[h][e]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int e = 0; e < kPart; ++e) {
#pragma unroll
      for (int offset = kLanes; offset < kWarp; offset *= 2) {
        sum[h][e] += __shfl_xor_sync(0xffffffffu, sum[h][e], offset);
      }
      if (lane < kLanes) shared.sums[warp][h][part.first + e] = sum[h][e];
    }
  }
}

// Joins the maximum and the total of a chunk to the running ones. shared.folds says how its sums
// are to join theirs.
template <typename T, int kDim, int kHeads>
__device__ __forceinline__ void fold_weights(Shared<T, kDim, kHeads>& shared) {
  const int head = static_cast<int>(threadIdx.x);
  if (head >= kHeads) return;
  const Fold by = fold(shared.running_maximum[head], shared.maximum[head]);
  shared.folds[head] = by;
  shared.running_total[head] = folded(by, shared.running_total[head], shared.total[head]);
  shared.running_maximum[head] = by.maximum;
}

}  // namespace
}  // namespace stagegate::cuda

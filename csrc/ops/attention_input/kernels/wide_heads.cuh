#pragma once

#include "ops/kv_write/kv_write_faults.h"
#include "ops/linear/kernels/wide_rounded.cuh"
#include "ops/linear/kernels/wide_tiling.cuh"
#include "ops/rope/rope_faults.h"

namespace stagegate::cuda::wide {

// q, k and v of one token: bias, norms of the heads of q and k where there are some, rotation, and
// k and v to the cache. Lane l of a warp has elements l, l + 32, ... of a head.
template <typename T, int kHeadDim>
struct KeepHeads {
  T* qkv;  // [rows, heads + 2 · kv_heads, head_dim]
  const T* bias;
  const T* q_norm;  // [head_dim], or null
  const T* k_norm;
  float eps;
  const std::int32_t* positions;
  const float* cos;  // [table_length, head_dim / 2]
  const float* sin;
  std::int64_t table_length;
  const std::int32_t* slot_mapping;
  T* keys;  // [num_slots, kv_heads, head_dim]
  T* values;
  std::int64_t num_slots;
  int heads;
  int kv_heads;
  Fault* fault;

  static constexpr int kEach = kHeadDim / kWarp;  // of a head, in a lane
  template <int kValues>
  struct Loaded {
    std::int64_t position;
    std::int64_t slot;
    float cos[kEach / 2];
    float sin[kEach / 2];
    float bias[kValues];
  };

  __device__ int all_heads() const { return heads + 2 * kv_heads; }
  __device__ bool in_table(std::int64_t position) const {
    return position >= 0 && position < table_length;
  }

  template <int kValues>
  __device__ __forceinline__ void load(Loaded<kValues>& loaded, int tile, int row) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    loaded.position = positions[row];
    loaded.slot = slot_mapping[row];
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int at = (tile * kValues + i) * kWarp + lane;
      const bool biased = bias != nullptr && at < all_heads() * kHeadDim;
      loaded.bias[i] = biased ? to_float(bias[at]) : 0.0f;
    }
    if (!in_table(loaded.position)) return;
#pragma unroll
    for (int e = 0; e < kEach / 2; ++e) {
      const std::int64_t at = loaded.position * (kHeadDim / 2) + e * kWarp + lane;
      loaded.cos[e] = cos[at];
      loaded.sin[e] = sin[at];
    }
  }

  template <int kValues>
  __device__ __forceinline__ void store(const Loaded<kValues>& loaded, int tile, int row,
                                        const float (&value)[kValues]) const {
    constexpr int kHeads = kValues / kEach;
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      const int head = tile * kHeads + i;
      if (head >= all_heads()) return;
      float part[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        part[e] = rounded<T>(value[i * kEach + e] + loaded.bias[i * kEach + e]);
      }
      if (head < heads + kv_heads) {
        const T* norm = head < heads ? q_norm : k_norm;
        if (norm != nullptr) normalise(norm, part);
        rotate(loaded, head, row, part);
      }
      put(qkv + (static_cast<std::int64_t>(row) * all_heads() + head) * kHeadDim, part);
      if (head >= heads) keep(loaded.slot, head - heads, row, part);
    }
  }

 private:
  __device__ __forceinline__ void put(T* head, const float (&part)[kEach]) const {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      head[e * kWarp + static_cast<int>(threadIdx.x) % kWarp] = from_float<T>(part[e]);
    }
  }

  __device__ __forceinline__ void normalise(const T* norm, float (&part)[kEach]) const {
    float squares = 0.0f;
#pragma unroll
    for (int e = 0; e < kEach; ++e) squares = fmaf(part[e], part[e], squares);
    const float factor = rsqrtf(warp_sum(squares) / kHeadDim + eps);
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const float weight = to_float(norm[e * kWarp + static_cast<int>(threadIdx.x) % kWarp]);
      part[e] = rounded<T>(part[e] * factor * weight);
    }
  }

  template <int kValues>
  __device__ __forceinline__ void rotate(const Loaded<kValues>& loaded, int head, int row,
                                         float (&part)[kEach]) const {
    if (!in_table(loaded.position)) {
      if (head == 0 && threadIdx.x % kWarp == 0) {
        report(fault, RopeFault::kPosition, loaded.position, row, table_length);
      }
      return;
    }
#pragma unroll
    for (int e = 0; e < kEach / 2; ++e) {
      const float a = part[e];
      const float b = part[e + kEach / 2];
      part[e] = a * loaded.cos[e] - b * loaded.sin[e];
      part[e + kEach / 2] = b * loaded.cos[e] + a * loaded.sin[e];
    }
  }

  // kv_head: of k, or kv_heads more of v.
  __device__ __forceinline__ void keep(std::int64_t slot, int kv_head, int row,
                                       const float (&part)[kEach]) const {
    if (slot == -1) return;
    if (slot < 0 || slot >= num_slots) {
      if (kv_head == 0 && threadIdx.x % kWarp == 0) {
        report(fault, KvWriteFault::kSlot, slot, row, num_slots);
      }
      return;
    }
    T* const cache = kv_head < kv_heads ? keys : values;
    put(cache + (slot * kv_heads + kv_head % kv_heads) * kHeadDim, part);
  }
};

}  // namespace stagegate::cuda::wide

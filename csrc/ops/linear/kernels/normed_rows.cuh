#pragma once

#include <cstdint>

#include "ops/linear/kernels/weight_ring.cuh"

// RMS norm of a few rows into shared memory, by a block.
namespace stagegate::cuda::narrow {

struct NormedRows {
  const void* x;                // [*, depth]
  const std::int32_t* indices;  // which rows of x; null: the first ones
  std::int64_t x_rows;          // of x, what an index is below
  const void* norm;             // [depth]
  float eps;
  int count;
  int depth;
};

// Pack::values of 16 bytes that another kernel wrote: past the first cache, which may hold what was
// there before.
template <typename T>
__device__ Pack<T> load_written(const Pack<T>* from) {
  const uint4 bits = __ldcg(reinterpret_cast<const uint4*>(from));
  return *reinterpret_cast<const Pack<T>*>(&bits);
}

// The warps of a block share the rows: some rows at a time, by some warps each.
struct RowShare {
  int first;  // row
  int step;   // to the next one of these warps
  int lane;   // of the warps of a row
  int lanes;
  int part;  // warp among those of its row
  int parts;

  __device__ explicit RowShare(int rows) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    step = rows > 8 ? 16 : rows > 4 ? 8 : rows > 2 ? 4 : rows;
    parts = kWarps / step;
    first = warp / parts;
    part = warp % parts;
    lanes = parts * kWarp;
    lane = part * kWarp + static_cast<int>(threadIdx.x) % kWarp;
  }
};

// Copies the rows to shared memory as they are, and the sums of their squares, a part a warp. Row
// r of x begins at rows + r * stride; columns from the depth on are zero. missing(row, index) is
// told of an index out of range, whose row is zero.
template <typename T, typename Missing>
__device__ void copy_rows(const NormedRows& in, std::uint8_t* rows, int stride, float* squares,
                          Missing missing) {
  constexpr int kPack = 16 / sizeof(T);
  constexpr int kAtOnce = 8;
  const RowShare share(in.count);
  const int packs = in.depth / kPack;
  const int padded = (stride - 16) / 16;
  for (int row = share.first; row < in.count; row += share.step) {
    const std::int64_t index = in.indices == nullptr ? row : __ldcg(in.indices + row);
    const bool present = index >= 0 && index < in.x_rows;
    if (!present && share.lane == 0) missing(row, index);
    const auto* from = static_cast<const Pack<T>*>(in.x) + index * packs;
    auto* to = reinterpret_cast<Pack<T>*>(rows + row * stride);
    float sum = 0.0f;
    for (int i = share.lane; i < padded; i += kAtOnce * share.lanes) {
      Pack<T> values[kAtOnce];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const int at = i + u * share.lanes;
        values[u] = present && at < packs ? load_written(from + at) : Pack<T>{};
      }
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const int at = i + u * share.lanes;
        if (at < padded) to[at] = values[u];
#pragma unroll
        for (int e = 0; e < kPack; ++e) {
          const float value = to_float(values[u].values[e]);
          sum += value * value;
        }
      }
    }
    sum = warp_sum(sum);
    if (share.lane % kWarp == 0) squares[row * kWarps + share.part] = sum;
  }
}

// Norms in place what copy_rows brought; norm [depth] in shared memory. The block synchronises
// before and after.
template <typename T>
__device__ void norm_rows(const NormedRows& in, std::uint8_t* rows, int stride,
                          const float* squares, const std::uint8_t* norm) {
  constexpr int kPack = 16 / sizeof(T);
  const RowShare share(in.count);
  const int packs = in.depth / kPack;
  const auto* scales = reinterpret_cast<const Pack<T>*>(norm);
  for (int row = share.first; row < in.count; row += share.step) {
    float sum = 0.0f;
    for (int part = 0; part < share.parts; ++part) sum += squares[row * kWarps + part];
    const float inverse = 1.0f / sqrtf(sum / static_cast<float>(in.depth) + in.eps);
    auto* values = reinterpret_cast<Pack<T>*>(rows + row * stride);
    for (int i = share.lane; i < packs; i += share.lanes) {
      Pack<T> normed = values[i];
      const Pack<T> scale = scales[i];
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        normed.values[e] =
            from_float<T>(to_float(normed.values[e]) * inverse * to_float(scale.values[e]));
      }
      values[i] = normed;
    }
  }
}

}  // namespace stagegate::cuda::narrow

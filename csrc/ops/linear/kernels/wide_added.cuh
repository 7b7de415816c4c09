#pragma once

#include "ops/linear/kernels/wide_rounded.cuh"
#include "ops/linear/kernels/wide_tiling.cuh"

namespace stagegate::cuda::wide {

// residual [rows, width] += the product, rounded first. Lane l of a warp has the values of rows l,
// l + 32, ... of the tile.
template <typename T>
struct AddTo {
  T* residual;
  const T* bias;
  int width;

  template <int kValues>
  struct Loaded {
    T residual[kValues];
    float bias[kValues];
  };

  template <int kValues>
  __device__ __forceinline__ int column_of(int tile, int i) const {
    return (tile * kValues + i) * kWarp + static_cast<int>(threadIdx.x) % kWarp;
  }

  template <int kValues>
  __device__ __forceinline__ void load(Loaded<kValues>& loaded, int tile, int row) const {
    const T* const from = residual + static_cast<std::int64_t>(row) * width;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int at = column_of<kValues>(tile, i);
      if (at < width) loaded.residual[i] = from[at];
      loaded.bias[i] = bias != nullptr && at < width ? to_float(bias[at]) : 0.0f;
    }
  }

  template <int kValues>
  __device__ __forceinline__ void store(const Loaded<kValues>& loaded, int tile, int row,
                                        const float (&value)[kValues]) const {
    T* const to = residual + static_cast<std::int64_t>(row) * width;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int at = column_of<kValues>(tile, i);
      if (at >= width) continue;
      const float product = rounded<T>(value[i] + loaded.bias[i]);
      to[at] = from_float<T>(to_float(loaded.residual[i]) + product);
    }
  }
};

}  // namespace stagegate::cuda::wide

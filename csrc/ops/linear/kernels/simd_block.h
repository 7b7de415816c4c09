#pragma once

// The inner kernel of linear, compiled once per instruction set (see ops/simd/vector.h). Weights
// are read once for up to kRowTile rows of x, so a small batch costs one pass over the weights; the
// tiles below keep kRowTile · kWeightTile sums in registers.

#include "ops/linear/kernels/isa.h"
#include "ops/simd/vector.h"

namespace stagegate {
namespace {

// How kWidth or more products are added to a vector of partial sums.
template <typename T>
struct Products {
  using Packed = Vec;
  static constexpr int kStep = kWidth;
  static Packed load(const T* p) { return stagegate::load(p); }
  static Packed load_first(const T* p, std::int64_t count) {
    return stagegate::load_first(p, count);
  }
  static Vec add(Vec sum, Packed a, Packed b) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
// Pairs of bf16 products go into one f32 lane (VDPBF16PS): twice the elements per instruction.
template <>
struct Products<bfloat16> {
  using Packed = __m512bh;
  static constexpr int kStep = 32;
  static Packed load(const bfloat16* p) { return (Packed)_mm512_loadu_si512(p); }
  static Packed load_first(const bfloat16* p, std::int64_t count) {
    return (Packed)_mm512_maskz_loadu_epi16((1u << count) - 1u, p);
  }
  static Vec add(Vec sum, Packed a, Packed b) { return (Vec)_mm512_dpbf16_ps((__m512)sum, a, b); }
};
#endif

// out[m, n] for kRows rows of x from `row` and kWeights weights from n.
template <typename T, int kRows, int kWeights>
inline void linear_tile(const simd::LinearBlock<T>& block, std::int64_t row, std::int64_t n) {
  using P = Products<T>;
  const T* x = block.x + row * block.x_stride;
  const T* weight = block.weight + n * block.depth;
  Vec sums[kWeights][kRows] = {};
  std::int64_t k = 0;
  for (; k + P::kStep <= block.depth; k += P::kStep) {
    typename P::Packed w[kWeights];
#pragma GCC unroll 8
    for (int j = 0; j < kWeights; ++j) w[j] = P::load(weight + j * block.depth + k);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const typename P::Packed value = P::load(x + m * block.x_stride + k);
#pragma GCC unroll 8
      for (int j = 0; j < kWeights; ++j) sums[j][m] = P::add(sums[j][m], value, w[j]);
    }
  }
  if (k < block.depth) {
    const std::int64_t rest = block.depth - k;
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const typename P::Packed value = P::load_first(x + m * block.x_stride + k, rest);
#pragma GCC unroll 8
      for (int j = 0; j < kWeights; ++j) {
        sums[j][m] = P::add(sums[j][m], value, P::load_first(weight + j * block.depth + k, rest));
      }
    }
  }
  float totals[kWeights * kRows];
  reduce_add<kWeights * kRows>(&sums[0][0], totals);
  for (int m = 0; m < kRows; ++m) {
    const std::int64_t at = (row + m) * block.out_stride + n;
    for (int j = 0; j < kWeights; ++j) {
      float value = totals[j * kRows + m];
      if (block.bias != nullptr) value += load_as_float(block.bias[n + j]);
      if (block.out_is_float) {
        static_cast<float*>(block.out)[at + j] = value;
      } else {
        store_from_float(static_cast<T*>(block.out)[at + j], value);
      }
    }
  }
}

template <typename T, int kRows, int kWeights>
inline void linear_columns(const simd::LinearBlock<T>& block, std::int64_t row) {
  std::int64_t n = block.first;
  for (; n + kWeights <= block.last; n += kWeights) linear_tile<T, kRows, kWeights>(block, row, n);
  for (; n < block.last; ++n) linear_tile<T, kRows, 1>(block, row, n);
}

// Few rows: one pass over the weights, as many of them in registers as the rows leave room for.
template <typename T>
void linear_few_rows(const simd::LinearBlock<T>& block) {
  switch (block.rows) {
    case 1:
      return linear_columns<T, 1, 8>(block, 0);
    case 2:
      return linear_columns<T, 2, 4>(block, 0);
    case 3:
      return linear_columns<T, 3, 4>(block, 0);
    case 4:
      return linear_columns<T, 4, 4>(block, 0);
    case 5:
      return linear_columns<T, 5, 2>(block, 0);
    case 6:
      return linear_columns<T, 6, 2>(block, 0);
    case 7:
      return linear_columns<T, 7, 2>(block, 0);
    default:
      return linear_columns<T, 8, 3>(block, 0);
  }
}

constexpr std::int64_t kFewRows = 8;
constexpr std::int64_t kRowTile = 4;
constexpr std::int64_t kWeightTile = 6;
constexpr std::int64_t kStripBytes = 32768;

// Many rows: a strip of weights stays in the nearest cache and serves every tile of rows. Tiles are
// wider in weights than in rows, for the rows come from the next cache.
template <typename T>
void linear_many_rows(const simd::LinearBlock<T>& block) {
  const std::int64_t depth = block.depth > 0 ? block.depth : 1;
  const std::int64_t fitting = kStripBytes / (depth * static_cast<std::int64_t>(sizeof(T)));
  const std::int64_t tiles = fitting < 2 * kWeightTile ? 2 : fitting / kWeightTile;
  const std::int64_t strip = tiles * kWeightTile;
  simd::LinearBlock<T> part = block;
  for (std::int64_t n = block.first; n < block.last; n += strip) {
    part.first = n;
    part.last = n + strip < block.last ? n + strip : block.last;
    std::int64_t row = 0;
    for (; row + kRowTile <= block.rows; row += kRowTile) {
      linear_columns<T, kRowTile, kWeightTile>(part, row);
    }
    for (; row < block.rows; ++row) linear_columns<T, 1, kWeightTile>(part, row);
  }
}

template <typename T>
void linear_block(const simd::LinearBlock<T>& block) {
  block.rows <= kFewRows ? linear_few_rows(block) : linear_many_rows(block);
}

}  // namespace
}  // namespace stagegate

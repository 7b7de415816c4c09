#pragma once

#include <cstdint>

#include "core/scalar.h"
#include "ops/simd/variants.h"

namespace stagegate::simd {

// A block of a matrix product: out[m, n] = x[m] · weight[n] (+ bias[n]) for all m in [0, rows) and
// n in [first, last). Each product sums in one fixed order, whatever rows is.
template <typename T>
struct LinearBlock {
  const T* x;  // [rows, depth]
  std::int64_t x_stride;
  const T* weight;  // [N, depth], contiguous
  const T* bias;    // [N] or null
  void* out;        // [rows, N], T or float
  std::int64_t out_stride;
  bool out_is_float;
  std::int64_t rows;
  std::int64_t depth;
  std::int64_t first;
  std::int64_t last;
};

// The form of linear in bf16 for a matrix unit, which reads rows of x in tiles of kPackedTile. A
// tile holds, for every second number of depth, that number and the next one of each row, so two
// numbers of bf16 are one word. Zeros fill the depth up to a multiple of kPackedStep, and the last
// tile.
inline constexpr std::int64_t kPackedTile = 16;
inline constexpr std::int64_t kPackedStep = 32;
inline constexpr std::int64_t kPackedStrip = 256;

// A tile of rows to be packed.
struct RowsToPack {
  const bfloat16* x;  // the first row of the tile
  std::int64_t x_stride;
  std::int64_t rows;  // of the tile: at most columns
  std::int64_t depth;
  std::int64_t columns;   // places for rows in a tile: at most kPackedTile
  std::uint32_t* packed;  // [depth / 2, rounded up to whole steps; columns]
};

// LinearBlock for packed rows; depth > 0.
struct PackedLinear {
  const std::uint32_t* packed;  // [tiles, packed_tile]
  std::int64_t packed_tile;     // words of a tile
  std::int64_t columns;
  const bfloat16* weight;  // [N, depth], contiguous
  const bfloat16* bias;    // [N] or null
  void* out;               // [rows, N], bf16 or float
  std::int64_t out_stride;
  bool out_is_float;
  std::int64_t rows;
  std::int64_t depth;
  std::int64_t first;
  std::int64_t last;
  float* sums;  // scratch of this call: a strip of weights for all rows, in whole tiles
};

// The kernels of one instruction set; see ops/simd/variants.h.
struct LinearKernels {
  void (*linear_f32)(const LinearBlock<float>&);
  void (*linear_f16)(const LinearBlock<float16>&);
  void (*linear_bf16)(const LinearBlock<bfloat16>&);
  // Null where there is no matrix unit. Where there is one, bf16 goes there in any number of rows,
  // so that each sum has one order.
  void (*pack_rows)(const RowsToPack&);
  void (*linear_packed)(const PackedLinear&);

  void linear(const LinearBlock<float>& block) const { linear_f32(block); }
  void linear(const LinearBlock<float16>& block) const { linear_f16(block); }
  void linear(const LinearBlock<bfloat16>& block) const { linear_bf16(block); }
};

template <>
const LinearKernels Variant<LinearKernels, InstructionSet::kPortable>::kernels;
template <>
const LinearKernels Variant<LinearKernels, InstructionSet::kAvx2>::kernels;
template <>
const LinearKernels Variant<LinearKernels, InstructionSet::kAvx512>::kernels;
template <>
const LinearKernels Variant<LinearKernels, InstructionSet::kAmx>::kernels;

}  // namespace stagegate::simd

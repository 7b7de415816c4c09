#pragma once

#include <cstdint>

#include "core/scalar.h"
#include "device/instruction_set.h"

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

// Some keys of the running softmax of a group of query heads that share a key head (Milakov and
// Gimelshein, 2018): attends to rows slots[0..count) of k and v and updates the state.
template <typename T>
struct AttentionBlock {
  const float* q;  // [heads, head_dim], scaled already
  std::int64_t heads;
  std::int64_t head_dim;
  const T* k;  // row s of the key head is at k + s · row_stride
  const T* v;
  std::int64_t k_stride;
  std::int64_t v_stride;
  const std::int32_t* slots;
  std::int64_t count;  // at most kMaxKeys
  float* maximum;      // [heads], -inf at first
  float* total;        // [heads], 0 at first
  float* sum;          // [heads, head_dim], 0 at first
};
inline constexpr std::int64_t kMaxKeys = 64;

// The kernels of one instruction set.
struct Kernels {
  const char* name;
  void (*linear_f32)(const LinearBlock<float>&);
  void (*linear_f16)(const LinearBlock<float16>&);
  void (*linear_bf16)(const LinearBlock<bfloat16>&);
  // Null where there is no matrix unit. Where there is one, bf16 goes there in any number of rows,
  // so that each sum has one order.
  void (*pack_rows)(const RowsToPack&);
  void (*linear_packed)(const PackedLinear&);
  void (*attend_f32)(const AttentionBlock<float>&);
  void (*attend_f16)(const AttentionBlock<float16>&);
  void (*attend_bf16)(const AttentionBlock<bfloat16>&);

  void linear(const LinearBlock<float>& block) const { linear_f32(block); }
  void linear(const LinearBlock<float16>& block) const { linear_f16(block); }
  void linear(const LinearBlock<bfloat16>& block) const { linear_bf16(block); }
  void attend(const AttentionBlock<float>& block) const { attend_f32(block); }
  void attend(const AttentionBlock<float16>& block) const { attend_f16(block); }
  void attend(const AttentionBlock<bfloat16>& block) const { attend_bf16(block); }
};

extern const Kernels portable_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;    // AVX2, FMA, F16C
extern const Kernels avx512_kernels;  // AVX-512 F, BW, VL and BF16
extern const Kernels amx_kernels;     // the same, and AMX with BF16
#endif

const Kernels& kernels(InstructionSet instruction_set);

}  // namespace stagegate::simd

#pragma once

// linear of bf16 on the matrix unit (AMX), compiled for AMX alone; see ops/simd/vector.h for what
// such a file may contain. A tile of 16 weights lies in memory as the unit wants its first operand,
// so weights are read where they are; rows of x are packed for the second. A tile of sums is thus
// [weight, row]. Each sum adds 32 products at a time, in order of depth, to one number in f32,
// which no blocking and no neighbour changes.

#include <immintrin.h>

#include "ops/linear/kernels/isa.h"
#include "ops/simd/vector.h"

namespace stagegate {
namespace {

constexpr std::int64_t kTile = simd::kPackedTile;  // weights or rows of a tile
constexpr std::int64_t kTileDepth =
    simd::kPackedStep;  // products of a sum that one instruction adds
constexpr std::int64_t kTileSums = kTile * kTile;

// Many rows: the weights of a strip and a block of their depth stay in the second cache, where they
// serve all rows.
constexpr std::int64_t kDepthBlock = 512;
constexpr std::int64_t kFewTiles = 2;

inline std::int64_t at_most(std::int64_t value, std::int64_t limit) {
  return value < limit ? value : limit;
}

inline std::uint32_t first_lanes(std::int64_t count) {
  return static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
}

// GCC 12's intrinsics that load tiles do not tell the compiler that they read memory, so stores
// before them may move behind.
inline void finish_stores() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// Exchanges rows and columns of 16 x 16 words: interleaving the halves four times does.
inline void transpose(VecU32* v) {
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    VecU32 t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      t[2 * i] = __builtin_shufflevector(v[i], v[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                         6, 22, 7, 23);
      t[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                             13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) v[i] = t[i];
  }
}

// Packs one tile of rows: see PackedRows.
void pack_rows(const simd::RowsToPack& task) {
  const __mmask16 stored = static_cast<__mmask16>(first_lanes(task.columns));
  for (std::int64_t k = 0; k < task.depth; k += kTileDepth) {
    const __mmask32 loaded = first_lanes(at_most(task.depth - k, kTileDepth));
    VecU32 words[kTile] = {};
#pragma GCC unroll 16
    for (int row = 0; row < kTile; ++row) {
      if (row < task.rows) {
        words[row] = (VecU32)_mm512_maskz_loadu_epi16(loaded, task.x + row * task.x_stride + k);
      }
    }
    transpose(words);
    std::uint32_t* pairs = task.packed + k / 2 * task.columns;
#pragma GCC unroll 16
    for (int pair = 0; pair < kTile; ++pair) {
      _mm512_mask_storeu_epi32(pairs + pair * task.columns, stored, (__m512i)words[pair]);
    }
  }
}

// What LDTILECFG reads.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 to 3 hold sums of `weights` weights and `columns` rows of x, 4 and 5 weights, 6 and 7 x.
inline void configure_tiles(std::int64_t weights, std::int64_t columns) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    const bool of_weights = tile == 4 || tile == 5;
    shapes.bytes_per_row[tile] = static_cast<std::uint16_t>(of_weights ? 64 : 4 * columns);
    shapes.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? weights : kTile);
  }
  finish_stores();
  _tile_loadconfig(&shapes);
}

// The operands of multiply_tiles.
struct TileProduct {
  const bfloat16* weight;    // the first weight, at the first product
  std::int64_t weight_step;  // elements from a weight to the next
  const std::uint32_t* x;    // the first tile of packed rows, at the first product
  std::int64_t x_step;       // words from a tile of rows to the next
  std::int64_t columns;
  float* sums;             // [weight tile, row tile, 16, 16]
  std::int64_t sums_step;  // from a weight tile to the next
  bool resume;             // adds to sums
};

// Adds to tiles the products of 32 numbers of depth.
template <int kWeightTiles, int kRowTiles>
inline void multiply_step(const bfloat16* weight, std::int64_t weight_step, const std::uint32_t* x,
                          std::int64_t x_step, std::int64_t columns) {
  const std::int64_t weight_bytes = weight_step * 2;
  const std::int64_t x_bytes = columns * 4;
  _tile_loadd(6, x, x_bytes);
  _tile_loadd(4, weight, weight_bytes);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kRowTiles == 2) {
    _tile_loadd(7, x + x_step, x_bytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (kWeightTiles == 2) {
    _tile_loadd(5, weight + kTile * weight_step, weight_bytes);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (kRowTiles == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

// Copies the last `depth` < 32 products of weights to where a tile may be read, with zeros behind.
inline void copy_tail(const bfloat16* weight, std::int64_t weight_step, std::int64_t weights,
                      std::int64_t depth, bfloat16* tail) {
  const __mmask32 loaded = first_lanes(depth);
  for (std::int64_t n = 0; n < weights; ++n) {
    _mm512_store_si512(tail + n * kTileDepth,
                       _mm512_maskz_loadu_epi16(loaded, weight + n * weight_step));
  }
  finish_stores();
}

// sums (+)= weight · x over `depth` products. weights: how many there are in the last tile.
template <int kWeightTiles, int kRowTiles>
inline void multiply_tiles(const TileProduct& p, std::int64_t depth, std::int64_t weights) {
  constexpr std::int64_t kBytes = kTile * sizeof(float);
  float* const second = p.sums + p.sums_step;
  if (p.resume) {
    _tile_loadd(0, p.sums, kBytes);
    if constexpr (kRowTiles == 2) _tile_loadd(1, p.sums + kTileSums, kBytes);
    if constexpr (kWeightTiles == 2) _tile_loadd(2, second, kBytes);
    if constexpr (kWeightTiles == 2 && kRowTiles == 2) _tile_loadd(3, second + kTileSums, kBytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::uint32_t* x = p.x;
  std::int64_t k = 0;
  for (; k + kTileDepth <= depth; k += kTileDepth, x += kTileDepth / 2 * p.columns) {
    multiply_step<kWeightTiles, kRowTiles>(p.weight + k, p.weight_step, x, p.x_step, p.columns);
  }
  if (k < depth) {
    alignas(64) bfloat16 tail[2 * kTile * kTileDepth];
    copy_tail(p.weight + k, p.weight_step, (kWeightTiles - 1) * kTile + weights, depth - k, tail);
    multiply_step<kWeightTiles, kRowTiles>(tail, kTileDepth, x, p.x_step, p.columns);
  }
  _tile_stored(0, p.sums, kBytes);
  if constexpr (kRowTiles == 2) _tile_stored(1, p.sums + kTileSums, kBytes);
  if constexpr (kWeightTiles == 2) _tile_stored(2, second, kBytes);
  if constexpr (kWeightTiles == 2 && kRowTiles == 2) _tile_stored(3, second + kTileSums, kBytes);
}

// As bfloat16::from_float.
inline __m256i to_bf16(Vec values) {
  const VecU32 bits = (VecU32)values;
  const VecI32 nan = values != values;
  const VecU32 kept = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  return (__m256i) __builtin_convertvector(kept >> 16, VecU16);
}

// Turns a tile of sums to rows of out, with the bias.
inline void store_tile(const simd::PackedLinear& block, const float* sums, std::int64_t n,
                       std::int64_t row) {
  const std::int64_t weights = at_most(block.last - n, kTile);
  const std::int64_t rows = at_most(block.rows - row, kTile);
  const __mmask16 lanes = static_cast<__mmask16>(first_lanes(weights));
  VecU32 values[kTile];
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) values[i] = (VecU32)load(sums + i * kTile);
  transpose(values);
  Vec bias = {};
  if (block.bias != nullptr) {
    const VecU16 bits = (VecU16)_mm256_maskz_loadu_epi16(lanes, block.bias + n);
    bias = (Vec)(__builtin_convertvector(bits, VecU32) << 16);
  }
  for (std::int64_t m = 0; m < rows; ++m) {
    Vec value = (Vec)values[m];
    if (block.bias != nullptr) value += bias;
    const std::int64_t at = (row + m) * block.out_stride + n;
    if (block.out_is_float) {
      _mm512_mask_storeu_ps(static_cast<float*>(block.out) + at, lanes, (__m512)value);
    } else {
      _mm256_mask_storeu_epi16(static_cast<bfloat16*>(block.out) + at, lanes, to_bf16(value));
    }
  }
}

// One or two tiles of weights from n, one or two tiles of rows from `tile`, a block of depth.
template <int kWeightTiles, int kRowTiles>
inline void multiply_and_store(const simd::PackedLinear& block, TileProduct product, std::int64_t n,
                               std::int64_t tile, std::int64_t depth, bool last) {
  const std::int64_t weights = at_most(block.last - n - (kWeightTiles - 1) * kTile, kTile);
  multiply_tiles<kWeightTiles, kRowTiles>(product, depth, weights);
  if (!last) return;
  for (int i = 0; i < kWeightTiles; ++i) {
    for (int j = 0; j < kRowTiles; ++j) {
      store_tile(block, product.sums + i * product.sums_step + j * kTileSums, n + i * kTile,
                 (tile + j) * kTile);
    }
  }
}

// All rows for the weights of [block.first, block.last), which are in tiles of one height.
inline void multiply_strip(const simd::PackedLinear& block) {
  const std::int64_t tiles = (block.rows + kTile - 1) / kTile;
  const std::int64_t depth_block = tiles <= kFewTiles ? block.depth : kDepthBlock;
  for (std::int64_t k = 0; k < block.depth; k += depth_block) {
    const std::int64_t depth = at_most(block.depth - k, depth_block);
    const bool last = k + depth == block.depth;
    for (std::int64_t tile = 0; tile < tiles; tile += 2) {
      const bool two_rows = tile + 2 <= tiles;
      for (std::int64_t n = block.first; n < block.last; n += 2 * kTile) {
        const bool two_weights = block.last - n > kTile;
        const TileProduct product{
            .weight = block.weight + n * block.depth + k,
            .weight_step = block.depth,
            .x = block.packed + tile * block.packed_tile + k / 2 * block.columns,
            .x_step = block.packed_tile,
            .columns = block.columns,
            .sums = block.sums + ((n - block.first) / kTile * tiles + tile) * kTileSums,
            .sums_step = tiles * kTileSums,
            .resume = k > 0,
        };
        if (two_weights && two_rows) {
          multiply_and_store<2, 2>(block, product, n, tile, depth, last);
        } else if (two_weights) {
          multiply_and_store<2, 1>(block, product, n, tile, depth, last);
        } else if (two_rows) {
          multiply_and_store<1, 2>(block, product, n, tile, depth, last);
        } else {
          multiply_and_store<1, 1>(block, product, n, tile, depth, last);
        }
      }
    }
  }
}

void linear_packed(const simd::PackedLinear& block) {
  const std::int64_t whole = block.last - (block.last - block.first) % kTile;
  simd::PackedLinear strip = block;
  if (block.first < whole) {
    configure_tiles(kTile, block.columns);
    for (std::int64_t n = block.first; n < whole; n += simd::kPackedStrip) {
      strip.first = n;
      strip.last = at_most(whole - n, simd::kPackedStrip) + n;
      multiply_strip(strip);
    }
  }
  if (whole < block.last) {
    configure_tiles(block.last - whole, block.columns);
    strip.first = whole;
    strip.last = block.last;
    multiply_strip(strip);
  }
  _tile_release();
}

}  // namespace
}  // namespace stagegate

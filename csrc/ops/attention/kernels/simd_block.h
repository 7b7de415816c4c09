#pragma once

// The inner kernel of every attention operator, compiled once per instruction set (see
// ops/simd/vector.h). A key or value is widened once for all query heads that share it.

#include "ops/attention/kernels/isa.h"
#include "ops/simd/vector.h"

namespace stagegate {
namespace {

constexpr std::int64_t kHeadTile = 8;

// scores[h, i] = q[h] · k[slots[i]] for kHeads heads.
template <typename T, int kHeads>
inline void attention_scores(const simd::AttentionBlock<T>& block, const float* q, float* scores) {
  for (std::int64_t i = 0; i < block.count; ++i) {
    const T* key = block.k + block.slots[i] * block.k_stride;
    Vec sums[kHeads] = {};
    std::int64_t d = 0;
    for (; d + kWidth <= block.head_dim; d += kWidth) {
      const Vec part = load(key + d);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sums[h] += load(q + h * block.head_dim + d) * part;
    }
    if (d < block.head_dim) {
      const std::int64_t rest = block.head_dim - d;
      const Vec part = load_first(key + d, rest);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) {
        sums[h] += load_first(q + h * block.head_dim + d, rest) * part;
      }
    }
    float totals[kHeads];
    reduce_add<kHeads>(sums, totals);
    for (int h = 0; h < kHeads; ++h) scores[h * simd::kMaxKeys + i] = totals[h];
  }
}

// sum[h] = sum[h] · decay[h] + Σ weights[h, i] · v[slots[i]] for kHeads heads.
template <typename T, int kHeads>
inline void attention_values(const simd::AttentionBlock<T>& block, const float* weights,
                             const float* decay, float* sum) {
  for (std::int64_t d = 0; d < block.head_dim; d += kWidth) {
    const std::int64_t rest = block.head_dim - d;
    const bool whole = rest >= kWidth;
    Vec sums[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
      const float* from = sum + h * block.head_dim + d;
      sums[h] = (whole ? load(from) : load_first(from, rest)) * decay[h];
    }
    for (std::int64_t i = 0; i < block.count; ++i) {
      const T* value = block.v + block.slots[i] * block.v_stride + d;
      const Vec part = whole ? load(value) : load_first(value, rest);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sums[h] += part * weights[h * simd::kMaxKeys + i];
    }
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
      float lanes[kWidth];
      store(lanes, sums[h]);
      const std::int64_t count = whole ? kWidth : rest;
      for (std::int64_t e = 0; e < count; ++e) sum[h * block.head_dim + d + e] = lanes[e];
    }
  }
}

// Scores to weights e^(score - maximum), in place; returns what earlier sums shrink by.
inline float softmax_step(float* scores, std::int64_t count, float& maximum, float& total) {
  float highest = maximum;
  for (std::int64_t i = 0; i < count; ++i) highest = scores[i] > highest ? scores[i] : highest;
  float sum = 0.0f;
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const std::int64_t rest = count - i;
    float lanes[kWidth];
    store(lanes, exp_nonpositive(load(scores + i) - highest));
    const std::int64_t valid = rest < kWidth ? rest : kWidth;
    for (std::int64_t e = 0; e < valid; ++e) {
      scores[i + e] = lanes[e];
      sum += lanes[e];
    }
  }
  const float decay = exp_nonpositive(splat(maximum - highest))[0];
  maximum = highest;
  total = total * decay + sum;
  return decay;
}

template <typename T, int kHeads>
inline void attend_heads(const simd::AttentionBlock<T>& block, std::int64_t first) {
  float scores[kHeads * simd::kMaxKeys] = {};
  float decay[kHeads];
  attention_scores<T, kHeads>(block, block.q + first * block.head_dim, scores);
  for (int h = 0; h < kHeads; ++h) {
    decay[h] = softmax_step(scores + h * simd::kMaxKeys, block.count, block.maximum[first + h],
                            block.total[first + h]);
  }
  attention_values<T, kHeads>(block, scores, decay, block.sum + first * block.head_dim);
}

template <typename T>
void attend_block(const simd::AttentionBlock<T>& block) {
  std::int64_t head = 0;
  while (head < block.heads) {
    const std::int64_t rest = block.heads - head;
    switch (rest < kHeadTile ? rest : kHeadTile) {
      case 1:
        attend_heads<T, 1>(block, head);
        break;
      case 2:
        attend_heads<T, 2>(block, head);
        break;
      case 3:
        attend_heads<T, 3>(block, head);
        break;
      case 4:
        attend_heads<T, 4>(block, head);
        break;
      case 5:
        attend_heads<T, 5>(block, head);
        break;
      case 6:
        attend_heads<T, 6>(block, head);
        break;
      case 7:
        attend_heads<T, 7>(block, head);
        break;
      default:
        attend_heads<T, 8>(block, head);
        break;
    }
    head += kHeadTile;
  }
}

}  // namespace
}  // namespace stagegate

#pragma once

#include <cstdint>

#include "core/scalar.h"
#include "ops/simd/variants.h"

namespace stagegate::simd {

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

// The kernels of one instruction set; see ops/simd/variants.h.
struct AttentionKernels {
  void (*attend_f32)(const AttentionBlock<float>&);
  void (*attend_f16)(const AttentionBlock<float16>&);
  void (*attend_bf16)(const AttentionBlock<bfloat16>&);

  void attend(const AttentionBlock<float>& block) const { attend_f32(block); }
  void attend(const AttentionBlock<float16>& block) const { attend_f16(block); }
  void attend(const AttentionBlock<bfloat16>& block) const { attend_bf16(block); }
};

template <>
const AttentionKernels Variant<AttentionKernels, InstructionSet::kPortable>::kernels;
template <>
const AttentionKernels Variant<AttentionKernels, InstructionSet::kAvx2>::kernels;
template <>
const AttentionKernels Variant<AttentionKernels, InstructionSet::kAvx512>::kernels;
template <>
const AttentionKernels Variant<AttentionKernels, InstructionSet::kAmx>::kernels;

}  // namespace stagegate::simd

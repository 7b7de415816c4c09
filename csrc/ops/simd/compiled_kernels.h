#pragma once

#include "ops/attention/attention_simd.h"
#include "ops/linear/linear_simd.h"
#include "ops/simd/kernels.h"

namespace stagegate::simd {
namespace {

// The kernels under the instruction set that the including file is compiled for.
constexpr Kernels compiled_kernels(const char* name) {
  return {
      .name = name,
      .linear_f32 = linear_block<float>,
      .linear_f16 = linear_block<float16>,
      .linear_bf16 = linear_block<bfloat16>,
      .pack_rows = nullptr,
      .linear_packed = nullptr,
      .attend_f32 = attend_block<float>,
      .attend_f16 = attend_block<float16>,
      .attend_bf16 = attend_block<bfloat16>,
  };
}

}  // namespace
}  // namespace stagegate::simd

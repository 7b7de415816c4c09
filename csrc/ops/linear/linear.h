#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out = x · weightᵀ + bias, accumulated in f32.
//   x      float [M, K], rows may be strided
//   weight same dtype [N, K]
//   bias   same dtype [N], or an undefined Tensor for none
//   out    same dtype or f32 [M, N]
// In bf16 a CPU with AVX-512 BF16 or AMX takes subnormal operands and sums for zero. With
// context.deterministic a row of out is the same whatever M is.
void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out);

// The library behind linear for large M: "oneDNN 3.2.0" or "openmp".
const char* linear_backend();

}  // namespace stagegate

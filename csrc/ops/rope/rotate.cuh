#pragma once

namespace stagegate::cuda {

// Turns the pair (first, second) by an angle. The order of rounding is written out, so that every
// kernel that rotates gives the same bits.
__device__ inline void rotate(float& first, float& second, float cos, float sin) {
  const float a = first;
  const float b = second;
  first = __fmaf_rn(a, cos, -__fmul_rn(b, sin));
  second = __fmaf_rn(b, cos, __fmul_rn(a, sin));
}

}  // namespace stagegate::cuda

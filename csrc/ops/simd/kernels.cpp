#include "ops/simd/kernels.h"

namespace stagegate::simd {

namespace {

const Kernels& detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16")) {
    return avx512_kernels;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return avx2_kernels;
  }
#endif
  return portable_kernels;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& best = detect();
  return best;
}

}  // namespace stagegate::simd

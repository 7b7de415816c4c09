#include "ops/simd/compiled_kernels.h"

namespace stagegate::simd {

constinit const Kernels avx512_kernels = compiled_kernels("avx512");

}  // namespace stagegate::simd

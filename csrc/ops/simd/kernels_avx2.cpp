#include "ops/simd/compiled_kernels.h"

namespace stagegate::simd {

constinit const Kernels avx2_kernels = compiled_kernels("avx2");

}  // namespace stagegate::simd

#include "ops/simd/compiled_kernels.h"

namespace stagegate::simd {

constinit const Kernels portable_kernels = compiled_kernels("portable");

}  // namespace stagegate::simd

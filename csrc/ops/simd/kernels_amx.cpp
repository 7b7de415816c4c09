#include "ops/linear/linear_amx.h"
#include "ops/simd/compiled_kernels.h"

namespace stagegate::simd {

namespace {

constexpr Kernels with_matrix_unit(Kernels kernels) {
  kernels.pack_rows = pack_rows;
  kernels.linear_packed = linear_packed;
  return kernels;
}

}  // namespace

constinit const Kernels amx_kernels = with_matrix_unit(compiled_kernels("amx"));

}  // namespace stagegate::simd

#include "ops/linear/kernels/isa.h"
#include "ops/linear/kernels/simd_block.h"
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
#include "ops/linear/kernels/amx_block.h"
#endif

namespace stagegate {

template <>
constinit const simd::LinearKernels simd::CompiledVariant<simd::LinearKernels>::kernels = {
    .linear_f32 = linear_block<float>,
    .linear_f16 = linear_block<float16>,
    .linear_bf16 = linear_block<bfloat16>,
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
    .pack_rows = pack_rows,
    .linear_packed = linear_packed,
#else
    .pack_rows = nullptr,
    .linear_packed = nullptr,
#endif
};

}  // namespace stagegate

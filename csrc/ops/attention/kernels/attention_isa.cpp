#include "ops/attention/kernels/isa.h"
#include "ops/attention/kernels/simd_block.h"

namespace stagegate {

template <>
constinit const simd::AttentionKernels simd::CompiledVariant<simd::AttentionKernels>::kernels = {
    .attend_f32 = attend_block<float>,
    .attend_f16 = attend_block<float16>,
    .attend_bf16 = attend_block<bfloat16>,
};

}  // namespace stagegate

#include "ops/attention/kernels/decode.cuh"

namespace stagegate::cuda {

template void attend_decode<__nv_bfloat16>(const Context& context, const AttentionCall& call);

}  // namespace stagegate::cuda

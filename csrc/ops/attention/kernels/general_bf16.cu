#include "ops/attention/kernels/general.cuh"

namespace stagegate::cuda {

template void attend_general<__nv_bfloat16>(const Context& context, const AttentionCall& call);

}  // namespace stagegate::cuda

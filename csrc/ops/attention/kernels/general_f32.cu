#include "ops/attention/kernels/general.cuh"

namespace stagegate::cuda {

template void attend_general<float>(const Context& context, const AttentionCall& call);

}  // namespace stagegate::cuda

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/general.h"
#include "ops/attention/kernels/kernels.h"

namespace stagegate::cuda {

void attention_general(const Context& context, const AttentionCall& call) {
  dispatch_device("attention", call.q.dtype(),
                  [&](auto tag) { attend_general<decltype(tag)>(context, call); });
}

}  // namespace stagegate::cuda

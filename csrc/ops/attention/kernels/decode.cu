#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode.h"
#include "ops/attention/kernels/kernels.h"

namespace stagegate::cuda {

void attention_decode(const Context& context, const AttentionCall& call) {
  if (call.q.dtype() == DType::kF16) return attend_decode<__half>(context, call);
  attend_decode<__nv_bfloat16>(context, call);
}

}  // namespace stagegate::cuda

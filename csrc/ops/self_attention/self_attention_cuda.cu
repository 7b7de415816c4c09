#include "ops/attention/attention_cuda.cuh"
#include "ops/attention/attention_launch.h"

namespace stagegate::cuda {

void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out) {
  Keys keys{};
  keys.kind = Keys::Kind::kDense;
  keys.dense = {.before = static_cast<int>(k.dim(0) - q.dim(0))};
  attend(context, q, k, v, keys, k.dim(0), scale, out);
}

}  // namespace stagegate::cuda

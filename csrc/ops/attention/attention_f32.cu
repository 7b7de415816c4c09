#include "ops/attention/attention_general.cuh"

namespace stagegate::cuda {

template void attend_typed<float>(const Context& context, const Tensor& q, const Tensor& k,
                                  const Tensor& v, const Keys& keys, std::int64_t max_keys,
                                  float scale, const Tensor& out);

}  // namespace stagegate::cuda

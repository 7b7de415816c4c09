#include "ops/attention/attention_cuda.cuh"
#include "ops/attention/attention_decode.h"
#include "ops/attention/attention_launch.h"

namespace stagegate::cuda {

void attend(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
            const Keys& keys, std::int64_t max_keys, float scale, const Tensor& out) {
  // Which kernel depends on shapes alone, as a captured graph must.
  if (q.numel() == 0) return;
  if (!context.deterministic && keys.kind != Keys::Kind::kDense &&
      attend_decode_fits(q, k, v, scale, out)) {
    return attend_decode(context, q, k, v, keys, max_keys, scale, out);
  }
  dispatch_device("attention", q.dtype(), [&](auto tag) {
    attend_typed<decltype(tag)>(context, q, k, v, keys, max_keys, scale, out);
  });
}

}  // namespace stagegate::cuda

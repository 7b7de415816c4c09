#include "ops/self_attention/self_attention.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/attention/attention_checks.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out);
}
namespace cuda {
void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out);
}

void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out) {
  checks::attention("self_attention", context, q, {"k", &k}, {"v", &v}, out);
  SG_CHECK(ShapeError, k.dim(0) >= q.dim(0), "self_attention: ", q.dim(0),
           " queries need as many keys or more, got ", k.dim(0));
  const Dispatch dispatch("self_attention", context.device);
  if (context.device.is_cpu()) return cpu::self_attention(context, q, k, v, scale, out);
  if constexpr (cuda::kEnabled) return cuda::self_attention(context, q, k, v, scale, out);
  checks::no_kernel("self_attention", context);
}

}  // namespace stagegate

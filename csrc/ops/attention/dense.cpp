#include "ops/attention/dense.h"

#include "device/ledger.h"
#include "ops/attention/checks.h"
#include "ops/attention/select.h"

namespace stagegate {

void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out) {
  checks::attention("self_attention", context, q, {"k", &k}, {"v", &v}, out);
  SG_CHECK(ShapeError, k.dim(0) >= q.dim(0), "self_attention: ", q.dim(0),
           " queries need as many keys or more, got ", k.dim(0));
  const Dispatch dispatch("self_attention", context.device);
  run_attention("self_attention", context,
                {.q = q, .k = k, .v = v, .out = out, .scale = scale, .form = DenseForm{}});
}

}  // namespace stagegate

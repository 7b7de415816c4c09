#include "ops/attention/csr.h"

#include "device/ledger.h"
#include "ops/attention/checks.h"
#include "ops/attention/select.h"

namespace stagegate {

void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out) {
  constexpr const char* kOp = "self_attention_paged";
  checks::attention(kOp, context, q, {"k_cache", &k_cache}, {"v_cache", &v_cache}, out);
  checks::csr_metadata(kOp, context, q.dim(0), used_slots, row_ptr, col_idx);
  const Dispatch dispatch(kOp, context.device);
  run_attention(kOp, context,
                {.q = q,
                 .k = k_cache,
                 .v = v_cache,
                 .out = out,
                 .scale = scale,
                 .form = CsrForm{used_slots, row_ptr, col_idx}});
}

}  // namespace stagegate

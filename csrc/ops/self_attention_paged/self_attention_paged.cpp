#include "ops/self_attention_paged/self_attention_paged.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/attention/attention_checks.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out);
}
namespace cuda {
void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out);
}

void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out) {
  constexpr const char* kOp = "self_attention_paged";
  checks::attention(kOp, context, q, {"k_cache", &k_cache}, {"v_cache", &v_cache}, out);
  checks::csr_metadata(kOp, context, q.dim(0), used_slots, row_ptr, col_idx);
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu())
    return cpu::self_attention_paged(context, q, k_cache, v_cache, used_slots, row_ptr, col_idx,
                                     scale, out);
  if constexpr (cuda::kEnabled)
    return cuda::self_attention_paged(context, q, k_cache, v_cache, used_slots, row_ptr, col_idx,
                                      scale, out);
  checks::no_kernel(kOp, context);
}

}  // namespace stagegate

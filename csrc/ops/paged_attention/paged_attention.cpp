#include "ops/paged_attention/paged_attention.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/attention/attention_checks.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out);
}
namespace cuda {
void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out);
}

void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out) {
  constexpr const char* kOp = "paged_attention";
  checks::attention(kOp, context, q, {"k_cache", &k_cache}, {"v_cache", &v_cache}, out);
  checks::paged_metadata(kOp, context, block_tables, context_lens, cu_seqlens_q, block_size);
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu())
    return cpu::paged_attention(context, q, k_cache, v_cache, block_tables, context_lens,
                                cu_seqlens_q, block_size, scale, out);
  if constexpr (cuda::kEnabled)
    return cuda::paged_attention(context, q, k_cache, v_cache, block_tables, context_lens,
                                 cu_seqlens_q, block_size, scale, out);
  checks::no_kernel(kOp, context);
}

}  // namespace stagegate

#include "ops/paged_attention/paged_attention.h"

#include <limits>

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
  checks::shape(kOp, "context_lens", context_lens, {-1});
  checks::shape(kOp, "block_tables", block_tables, {context_lens.dim(0), -1});
  checks::shape(kOp, "cu_seqlens_q", cu_seqlens_q, {context_lens.dim(0) + 1});
  checks::dtype(kOp, "block_tables", block_tables, DType::kI32);
  checks::dtype(kOp, "context_lens", context_lens, DType::kI32);
  checks::dtype(kOp, "cu_seqlens_q", cu_seqlens_q, DType::kI32);
  checks::dense(kOp, context,
                {{"block_tables", &block_tables},
                 {"context_lens", &context_lens},
                 {"cu_seqlens_q", &cu_seqlens_q}});
  SG_CHECK(ArgumentError, block_size > 0 && block_size <= std::numeric_limits<std::int32_t>::max(),
           "paged_attention: block_size must be positive and fit into 32 bits, got ", block_size);
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

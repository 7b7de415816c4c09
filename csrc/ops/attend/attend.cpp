#include "ops/attend/attend.h"

#include "device/range.h"
#include "ops/attention/checks.h"
#include "ops/attention/csr.h"
#include "ops/attention/paged.h"

namespace stagegate {

void attend(const Context& context, const Tensor& q, const KvLayer& kv,
            const AttentionMetadata& metadata, const Tensor& context_lens,
            const Tensor& cu_seqlens_q, float scale, const Tensor& out) {
  constexpr const char* kOp = "attend";
  checks::attention(kOp, context, q, {"k_cache", &kv.keys}, {"v_cache", &kv.values}, out);
  checks::unscaled(kOp, "k_cache", kv.key_scale);
  checks::unscaled(kOp, "v_cache", kv.value_scale);
  if (const auto* paged = std::get_if<PagedMetadata>(&metadata)) {
    checks::paged_metadata(kOp, context, paged->block_tables, context_lens, cu_seqlens_q,
                           paged->block_size);
    const Range range(kOp);
    paged_attention_in_step(context, q, kv.keys, kv.values, paged->block_tables, context_lens,
                            cu_seqlens_q, paged->block_size, scale, out);
    return;
  }
  const auto& csr = std::get<CsrMetadata>(metadata);
  checks::csr_metadata(kOp, context, q.dim(0), csr.used_slots, csr.row_ptr, csr.col_idx);
  const Range range(kOp);
  self_attention_paged(context, q, kv.keys, kv.values, csr.used_slots, csr.row_ptr, csr.col_idx,
                       scale, out);
}

}  // namespace stagegate

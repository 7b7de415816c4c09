#include "ops/attention/paged.h"

#include "device/ledger.h"
#include "ops/attention/checks.h"
#include "ops/attention/select.h"

namespace stagegate {

namespace {

void run(const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
         const PagedForm& form, float scale, const Tensor& out) {
  constexpr const char* kOp = "paged_attention";
  checks::attention(kOp, context, q, {"k_cache", &k_cache}, {"v_cache", &v_cache}, out);
  checks::paged_metadata(kOp, context, form.block_tables, form.context_lens, form.cu_seqlens_q,
                         form.block_size);
  const Dispatch dispatch(kOp, context.device);
  run_attention(kOp, context,
                {.q = q, .k = k_cache, .v = v_cache, .out = out, .scale = scale, .form = form});
}

}  // namespace

void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out) {
  run(context, q, k_cache, v_cache, {block_tables, context_lens, cu_seqlens_q, block_size, false},
      scale, out);
}

void paged_attention_in_step(const Context& context, const Tensor& q, const Tensor& k_cache,
                             const Tensor& v_cache, const Tensor& block_tables,
                             const Tensor& context_lens, const Tensor& cu_seqlens_q,
                             std::int64_t block_size, float scale, const Tensor& out) {
  run(context, q, k_cache, v_cache, {block_tables, context_lens, cu_seqlens_q, block_size, true},
      scale, out);
}

}  // namespace stagegate

#include "device/cuda/runtime.h"
#include "ops/attention/attention_cuda.cuh"
#include "ops/attention/attention_launch.h"
#include "ops/paged_attention/flashinfer/flashinfer.h"
#include "ops/paged_attention/paged_attention_prefill.h"

namespace stagegate::cuda {

void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out) {
  Keys keys{};
  keys.kind = Keys::Kind::kPaged;
  keys.paged = {
      .block_tables = input<std::int32_t>(block_tables),
      .context_lens = input<std::int32_t>(context_lens),
      .first_query = input<std::int32_t>(cu_seqlens_q),
      .num_slots = k_cache.dim(0),
      .sequences = static_cast<int>(context_lens.dim(0)),
      .queries = static_cast<int>(q.dim(0)),
      .width = static_cast<int>(block_tables.dim(1)),
      .block_size = static_cast<int>(block_size),
  };
  if (q.numel() == 0) return;
  if constexpr (kFlashInferEnabled) {
    if (context.attention == AttentionBackend::kFlashInfer) {
      return flashinfer_attention(context, q, k_cache, v_cache, keys.paged, scale, out);
    }
  }
  // Which kernel depends on shapes alone, as a captured graph must. On tensor cores a query is
  // summed up in another order than alone, so a deterministic context stays with one kernel. A
  // negative scale would turn the maximum of the unscaled scores around.
  const bool decode = q.dim(0) == context_lens.dim(0);
  if (!decode && !context.deterministic && scale > 0.0f &&
      paged_prefill_fits(q, k_cache, v_cache, out)) {
    return paged_prefill(context, q, k_cache, v_cache, keys.paged, scale, out);
  }
  attend(context, q, k_cache, v_cache, keys, block_tables.dim(1) * block_size, scale, out);
}

}  // namespace stagegate::cuda

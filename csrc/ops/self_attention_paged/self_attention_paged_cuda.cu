#include <algorithm>

#include "ops/attention/attention_cuda.cuh"
#include "ops/attention/attention_launch.h"

namespace stagegate::cuda {

void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out) {
  Keys keys{};
  keys.kind = Keys::Kind::kCsr;
  keys.csr = {
      .used_slots = input<std::int32_t>(used_slots),
      .row_ptr = input<std::int32_t>(row_ptr),
      .col_idx = input<std::int32_t>(col_idx),
      .num_slots = k_cache.dim(0),
      .queries = static_cast<int>(q.dim(0)),
      .used = static_cast<int>(used_slots.numel()),
      .entries = static_cast<int>(col_idx.numel()),
  };
  const std::int64_t max_keys = std::min(used_slots.numel() + 1, col_idx.numel());
  attend(context, q, k_cache, v_cache, keys, max_keys, scale, out);
}

}  // namespace stagegate::cuda

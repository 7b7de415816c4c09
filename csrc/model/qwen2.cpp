#include "model/qwen2.h"

#include <cmath>

#include "device/range.h"
#include "ops/add/add.h"
#include "ops/embedding/embedding.h"
#include "ops/kv_write/kv_write.h"
#include "ops/linear/linear.h"
#include "ops/paged_attention/paged_attention.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/self_attention_paged/self_attention_paged.h"
#include "ops/swiglu/swiglu.h"

namespace stagegate {

Qwen2Model::Qwen2Model(Qwen2Weights weights, std::int64_t max_positions)
    : weights_(std::move(weights)),
      rope_(make_rope_table(max_positions, weights_.config().head_dim, weights_.config().rope_theta,
                            weights_.device())),
      attention_scale_(1.0f / std::sqrt(static_cast<float>(weights_.config().head_dim))) {
  const auto missing = weights_.missing();
  SG_CHECK(ArgumentError, missing.empty(), "weights: ", missing.size(),
           " tensors were not loaded, the first is ", missing.empty() ? "" : missing.front());
}

Tensor Qwen2Model::forward(const Context& context, const StepTensors& step, const KvStorage& kv,
                           const Workspace& workspace) const {
  const Qwen2Config& c = config();
  const std::int64_t tokens = step.input_ids.numel();
  const std::int64_t rows = step.logits_indices.numel();
  const auto first = [](const Tensor& buffer, std::int64_t count) {
    return buffer.slice(0, 0, count);
  };
  const Tensor residual = first(workspace.residual, tokens);    // [T, hidden]
  const Tensor normed = first(workspace.normed, tokens);        // [T, hidden]
  const Tensor qkv = first(workspace.qkv, tokens);              // [T, heads + 2 kv_heads, head_dim]
  const Tensor attention = first(workspace.attention, tokens);  // [T, heads, head_dim]
  const Tensor projected = first(workspace.projected, tokens);  // [T, hidden]
  const Tensor gate_up = first(workspace.gate_up, tokens);      // [T, 2 intermediate]
  const Tensor activated = first(workspace.activated, tokens);  // [T, intermediate]

  embedding(context, step.input_ids, weights_.embedding(), residual);
  for (std::int64_t index = 0; index < c.num_layers; ++index) {
    const Range range("layer", index);
    const Qwen2LayerWeights& layer = weights_.layer(index);
    rms_norm(context, residual, layer.input_norm, c.rms_norm_eps, normed);
    linear(context, normed, layer.qkv, layer.qkv_bias, qkv.view({tokens, -1}));
    attend(context, step, index, kv, qkv, attention);
    linear(context, attention.view({tokens, -1}), layer.o, Tensor(), projected);
    add(context, residual, projected, residual);

    rms_norm(context, residual, layer.post_norm, c.rms_norm_eps, normed);
    linear(context, normed, layer.gate_up, Tensor(), gate_up);
    swiglu(context, gate_up, activated);
    linear(context, activated, layer.down, Tensor(), projected);
    add(context, residual, projected, residual);
  }

  // Only the rows somebody asked for go through the head. Selecting rows is an embedding look-up.
  const Tensor row_hidden = first(workspace.row_hidden, rows);  // [R, hidden]
  const Tensor logits = first(workspace.logits, rows);          // [R, vocab]
  if (rows == 0) return logits;
  const Range range("logits");
  embedding(context, step.logits_indices, residual, row_hidden);
  rms_norm(context, row_hidden, weights_.final_norm(), c.rms_norm_eps, row_hidden);
  linear(context, row_hidden, weights_.lm_head(), Tensor(), logits);
  return logits;
}

void Qwen2Model::attend(const Context& context, const StepTensors& step, std::int64_t layer,
                        const KvStorage& kv, const Tensor& qkv, const Tensor& out) const {
  const Qwen2Config& c = config();
  const Tensor q = qkv.slice(1, 0, c.num_heads);
  const Tensor k = qkv.slice(1, c.num_heads, c.num_heads + c.num_kv_heads);
  const Tensor v = qkv.slice(1, c.num_heads + c.num_kv_heads, c.qkv_heads());
  rope(context, qkv.slice(1, 0, c.num_heads + c.num_kv_heads), step.positions, rope_.cos,
       rope_.sin);
  kv_write(context, k, v, step.slot_mapping, kv.keys(layer), kv.values(layer));
  if (const auto* paged = std::get_if<PagedMetadata>(&step.attention)) {
    paged_attention(context, q, kv.keys(layer), kv.values(layer), paged->block_tables,
                    step.context_lens, step.cu_seqlens_q, paged->block_size, attention_scale_, out);
  } else {
    const auto& csr = std::get<CsrMetadata>(step.attention);
    self_attention_paged(context, q, kv.keys(layer), kv.values(layer), csr.used_slots, csr.row_ptr,
                         csr.col_idx, attention_scale_, out);
  }
}

}  // namespace stagegate

#include "model/decoder.h"

#include <cmath>

#include "device/range.h"
#include "ops/attention_output/attention_output.h"
#include "ops/embedding/embedding.h"
#include "ops/logits/logits.h"
#include "ops/mlp_input/mlp_input.h"
#include "ops/mlp_output/mlp_output.h"

namespace stagegate {

Decoder::Decoder(DecoderWeights weights, std::int64_t max_positions)
    : weights_(std::move(weights)),
      eps_(static_cast<float>(config().rms_norm_eps)),
      attention_scale_(1.0f / std::sqrt(static_cast<float>(config().head_dim))) {
  const auto missing = weights_.missing();
  SG_CHECK(ArgumentError, missing.empty(), "weights: ", missing.size(),
           " tensors were not loaded, the first is ", missing.empty() ? "" : missing.front());
  SG_CHECK(ArgumentError, max_positions <= config().max_position_embeddings,
           "decoder: ", max_positions, " positions are more than the ",
           config().max_position_embeddings, " that the model was trained for");
  rope_ = make_rope_table(max_positions, config().head_dim, config().rope_theta,
                          config().rope_scaling, weights_.device());
}

Tensor Decoder::forward(const Context& context, const StepTensors& step, const KvCache& kv,
                        const Workspace& workspace) const {
  const std::int64_t tokens = step.input_ids.numel();
  const auto first = [](const Tensor& buffer, std::int64_t count) {
    return buffer.slice(0, 0, count);
  };
  const Tensor residual = first(workspace.residual, tokens);    // [T, hidden]
  const Tensor normed = first(workspace.normed, tokens);        // [T, hidden]
  const Tensor qkv = first(workspace.qkv, tokens);              // [T, heads + 2 kv_heads, head_dim]
  const Tensor q = qkv.slice(1, 0, config().num_heads);         // [T, heads, head_dim]
  const Tensor attention = first(workspace.attention, tokens);  // [T, heads, head_dim]
  const Tensor projected = first(workspace.projected, tokens);  // [T, hidden]
  const Tensor gate_up = first(workspace.gate_up, tokens);      // [T, 2 intermediate]
  const Tensor activated = first(workspace.activated, tokens);  // [T, intermediate]

  embedding(context, step.input_ids, weights_.embedding(), residual);
  for (std::int64_t index = 0; index < config().num_layers; ++index) {
    const Range range("layer", index);
    const LayerWeights& layer = weights_.layer(index);
    const KvLayer& cache = kv.layer(index);
    attention_input(context, residual, layer.attention_input, eps_, step.positions, rope_,
                    step.slot_mapping, cache, normed, qkv);
    attend(context, q, cache, step.attention, step.context_lens, step.cu_seqlens_q,
           attention_scale_, attention);
    attention_output(context, attention, layer.o, projected, residual);
    mlp_input(context, residual, layer.mlp_norm, eps_, layer.gate_up, normed, gate_up, activated);
    mlp_output(context, activated, layer.down, projected, residual);
  }

  // Only the rows somebody asked for go through the head.
  const std::int64_t rows = step.logits_indices.numel();
  const Tensor result = first(workspace.logits, rows);  // [R, vocab]
  if (rows == 0) return result;
  logits(context, residual, step.logits_indices, weights_.final_norm(), eps_, weights_.head(),
         first(workspace.row_hidden, rows), result);
  return result;
}

}  // namespace stagegate

#include "model/decoder.h"

#include <cmath>

#include "device/range.h"
#include "ops/attention_output/attention_output.h"
#include "ops/embedding/embedding.h"
#include "ops/logits/logits.h"
#include "ops/mlp_input/forms.h"
#include "ops/mlp_input/mlp_input.h"
#include "ops/mlp_output/mlp_output.h"

namespace stagegate {

namespace {

// Whether a block that ends with a sum also norms it for the next block: on a GPU that is one pass
// over the residual instead of two. A form of the next block does it without any.
bool norms_ahead(const Context& context, const Tensor& residual, const LayerWeights& layer) {
  if (!context.device.is_cuda()) return false;
  const LinearWeight& gate_up = layer.gate_up;
  return !any_takes(
      mlp_input_forms(),
      describe_block(context, residual, gate_up.data,
                     block_alignment({&residual, &layer.mlp_norm, &gate_up.data, &gate_up.bias})));
}

}  // namespace

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
  for (std::int64_t index = 0; index < config().num_layers; ++index) {
    normed_before_.push_back(weights_.layer(index).attention_input);
    normed_before_.back().norm = Tensor();
  }
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
  const bool ahead = norms_ahead(context, residual, weights_.layer(0));
  const auto norm_of = [&](const Tensor& weight) {
    return ahead ? NextNorm{weight, eps_, normed} : NextNorm{};
  };
  for (std::int64_t index = 0; index < config().num_layers; ++index) {
    const Range range("layer", index);
    const LayerWeights& layer = weights_.layer(index);
    const KvLayer& cache = kv.layer(index);
    const AttentionInputWeights& input = ahead && index > 0
                                             ? normed_before_[static_cast<std::size_t>(index)]
                                             : layer.attention_input;
    const bool last = index + 1 == config().num_layers;
    attention_input(context, residual, input, eps_, step.positions, rope_, step.slot_mapping, cache,
                    normed, qkv);
    attend(context, q, cache, step.attention, step.context_lens, step.cu_seqlens_q,
           attention_scale_, attention);
    attention_output(context, attention, layer.o, projected, residual, norm_of(layer.mlp_norm));
    mlp_input(context, residual, ahead ? Tensor() : layer.mlp_norm, eps_, layer.gate_up, normed,
              gate_up, activated);
    // The final norm is of some rows only, which are selected first.
    mlp_output(context, activated, layer.down, projected, residual,
               last ? NextNorm{} : norm_of(weights_.layer(index + 1).attention_input.norm));
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

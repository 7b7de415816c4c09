#include "model/qwen2_weights.h"

#include <algorithm>

#include "device/copy.h"
#include "device/memory.h"

namespace stagegate {

Qwen2Weights::Qwen2Weights(const Qwen2Config& config, DType dtype, Device device)
    : config_(config), dtype_(dtype), device_(device) {
  const auto make = [&](Shape shape) { return empty(std::move(shape), dtype, device); };
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q_rows = config.num_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_kv_heads * config.head_dim;
  const std::int64_t qkv_rows = config.qkv_heads() * config.head_dim;
  const std::int64_t inner = config.intermediate_size;

  embedding_ = make({config.vocab_size, hidden});
  expect("model.embed_tokens.weight", embedding_);
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const Qwen2LayerWeights layer{
        .input_norm = make({hidden}),
        .qkv = make({qkv_rows, hidden}),
        .qkv_bias = make({qkv_rows}),
        .o = make({hidden, q_rows}),
        .post_norm = make({hidden}),
        .gate_up = make({2 * inner, hidden}),
        .down = make({hidden, inner}),
    };
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    const auto expect_rows = [&](const char* name, const char* kind, const Tensor& merged,
                                 std::int64_t start, std::int64_t rows) {
      expect(prefix + name + kind, merged.slice(0, start, start + rows));
    };
    expect(prefix + "input_layernorm.weight", layer.input_norm);
    for (const auto& [kind, merged] :
         {std::pair{".weight", &layer.qkv}, {".bias", &layer.qkv_bias}}) {
      expect_rows("self_attn.q_proj", kind, *merged, 0, q_rows);
      expect_rows("self_attn.k_proj", kind, *merged, q_rows, kv_rows);
      expect_rows("self_attn.v_proj", kind, *merged, q_rows + kv_rows, kv_rows);
    }
    expect(prefix + "self_attn.o_proj.weight", layer.o);
    expect(prefix + "post_attention_layernorm.weight", layer.post_norm);
    expect_rows("mlp.gate_proj", ".weight", layer.gate_up, 0, inner);
    expect_rows("mlp.up_proj", ".weight", layer.gate_up, inner, inner);
    expect(prefix + "mlp.down_proj.weight", layer.down);
    layers_.push_back(layer);
  }
  final_norm_ = make({hidden});
  expect("model.norm.weight", final_norm_);
  if (config.tie_word_embeddings) {
    lm_head_ = embedding_;
  } else {
    lm_head_ = make({config.vocab_size, hidden});
    expect("lm_head.weight", lm_head_);
  }
}

void Qwen2Weights::expect(const std::string& name, const Tensor& destination) {
  pending_.emplace(name, destination);
  order_.push_back(name);
}

void Qwen2Weights::load(const std::string& name, const Tensor& tensor) {
  const auto found = pending_.find(name);
  SG_CHECK(ArgumentError, found != pending_.end(), "weights: ", name,
           std::ranges::count(order_, name) > 0 ? " was loaded before"
                                                : " is not a tensor of this model");
  SG_CHECK(ShapeError, tensor.shape() == found->second.shape(), "weights: ", name,
           " must have shape ", to_string(found->second.shape()), ", got ", tensor.describe());
  // On one device the copy converts; else a converted copy on the other side is needed first.
  copy(tensor.device() == device_ ? tensor : to(tensor, dtype_, device_), found->second);
  pending_.erase(found);
}

std::vector<std::string> Qwen2Weights::missing() const {
  std::vector<std::string> names;
  std::ranges::copy_if(order_, std::back_inserter(names),
                       [&](const std::string& name) { return pending_.contains(name); });
  return names;
}

std::size_t Qwen2Weights::size_bytes() const {
  std::size_t total = embedding_.size_bytes() + final_norm_.size_bytes();
  if (!config_.tie_word_embeddings) total += lm_head_.size_bytes();
  for (const Qwen2LayerWeights& layer : layers_) {
    for (const Tensor* tensor : {&layer.input_norm, &layer.qkv, &layer.qkv_bias, &layer.o,
                                 &layer.post_norm, &layer.gate_up, &layer.down}) {
      total += tensor->size_bytes();
    }
  }
  return total;
}

}  // namespace stagegate

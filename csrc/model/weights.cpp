#include "model/weights.h"

#include "device/copy.h"
#include "device/memory.h"

namespace stagegate {

namespace {

void add_layer_specs(const DecoderConfig& config, const std::string& prefix,
                     std::vector<WeightSpec>& specs) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const std::int64_t q_rows = config.num_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_kv_heads * config.head_dim;
  const auto add = [&](const char* role, std::vector<Shape> parts, Shard shard) {
    specs.push_back({prefix + role, std::move(parts), shard});
  };
  add("attention_norm", {{hidden}}, Shard::kReplicated);
  add("qkv", {{q_rows, hidden}, {kv_rows, hidden}, {kv_rows, hidden}}, Shard::kColumn);
  if (config.qkv_bias) add("qkv.bias", {{q_rows}, {kv_rows}, {kv_rows}}, Shard::kColumn);
  if (config.qk_norm) {
    add("q_norm", {{config.head_dim}}, Shard::kReplicated);
    add("k_norm", {{config.head_dim}}, Shard::kReplicated);
  }
  add("o", {{hidden, q_rows}}, Shard::kRow);
  add("mlp_norm", {{hidden}}, Shard::kReplicated);
  add("gate_up", {{inner, hidden}, {inner, hidden}}, Shard::kColumn);
  add("down", {{hidden, inner}}, Shard::kRow);
}

std::string layer_prefix(std::int64_t index) { return message("layers.", index, "."); }

Shape merged_shape(const std::vector<Shape>& parts) {
  Shape shape = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) shape[0] += parts[i][0];
  return shape;
}

}  // namespace

std::vector<WeightSpec> weight_specs(const DecoderConfig& config) {
  config.check();
  const Shape table = {config.vocab_size, config.hidden_size};
  std::vector<WeightSpec> specs = {{"embedding", {table}, Shard::kVocabulary}};
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    add_layer_specs(config, layer_prefix(index), specs);
  }
  specs.push_back({"final_norm", {{config.hidden_size}}, Shard::kReplicated});
  if (!config.tie_word_embeddings) specs.push_back({"head", {table}, Shard::kVocabulary});
  return specs;
}

DecoderWeights::DecoderWeights(const DecoderConfig& config, DType dtype, Device device)
    : config_(config), dtype_(dtype), device_(device) {
  for (const WeightSpec& spec : weight_specs(config)) {
    Weight weight{
        .data = empty(merged_shape(spec.parts), dtype, device), .shard = spec.shard, .parts = {}};
    std::int64_t row = 0;
    for (const Shape& part : spec.parts) {
      weight.parts.push_back({weight.data.slice(0, row, row + part[0])});
      row += part[0];
    }
    size_bytes_ += weight.data.size_bytes();
    roles_.push_back(spec.role);
    weights_.emplace(spec.role, std::move(weight));
  }
  embedding_ = tensor("embedding");
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    layers_.push_back(layer_weights(layer_prefix(index)));
  }
  final_norm_ = tensor("final_norm");
  head_ = linear_weight(config.tie_word_embeddings ? "embedding" : "head");
}

LinearWeight DecoderWeights::linear_weight(const std::string& role) const {
  const Weight& weight = weights_.at(role);
  const auto bias = weights_.find(role + ".bias");
  return {.data = weight.data,
          .scale = Tensor(),
          .bias = bias == weights_.end() ? Tensor() : bias->second.data,
          .shard = weight.shard};
}

LayerWeights DecoderWeights::layer_weights(const std::string& prefix) const {
  return {
      .attention_input = {.norm = tensor(prefix + "attention_norm"),
                          .qkv = linear_weight(prefix + "qkv"),
                          .q_norm = config_.qk_norm ? tensor(prefix + "q_norm") : Tensor(),
                          .k_norm = config_.qk_norm ? tensor(prefix + "k_norm") : Tensor()},
      .o = linear_weight(prefix + "o"),
      .mlp_norm = tensor(prefix + "mlp_norm"),
      .gate_up = linear_weight(prefix + "gate_up"),
      .down = linear_weight(prefix + "down"),
  };
}

void DecoderWeights::load(const std::string& role, std::int64_t part, const Tensor& tensor) {
  const auto found = weights_.find(role);
  SG_CHECK(ArgumentError, found != weights_.end(), "weights: ", role,
           " is not a weight of this model");
  std::vector<Part>& parts = found->second.parts;
  SG_CHECK(ArgumentError, part >= 0 && part < static_cast<std::int64_t>(parts.size()),
           "weights: ", role, " has ", parts.size(), " parts, got part ", part);
  Part& place = parts[static_cast<std::size_t>(part)];
  SG_CHECK(ArgumentError, !place.loaded, "weights: ", role, "[", part, "] was loaded before");
  SG_CHECK(ShapeError, tensor.shape() == place.destination.shape(), "weights: ", role, "[", part,
           "] must have shape ", to_string(place.destination.shape()), ", got ", tensor.describe());
  // On one device the copy converts; else a converted copy on the other side is needed first.
  copy(tensor.device() == device_ ? tensor : to(tensor, dtype_, device_), place.destination);
  place.loaded = true;
}

std::vector<std::string> DecoderWeights::missing() const {
  std::vector<std::string> names;
  for (const std::string& role : roles_) {
    const std::vector<Part>& parts = weights_.at(role).parts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].loaded) names.push_back(message(role, "[", i, "]"));
    }
  }
  return names;
}

}  // namespace stagegate

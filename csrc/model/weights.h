#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "model/decoder_config.h"
#include "ops/attention_input/attention_input.h"
#include "ops/linear/linear_weight.h"

namespace stagegate {

// A tensor of the model in the form the layer loop wants, by its role: "embedding", "final_norm",
// "head", and of layer 3 "layers.3.qkv", "layers.3.qkv.bias", "layers.3.o" and so on.
struct WeightSpec {
  std::string role;
  // What a checkpoint may store one by one, in the order in which they lie along the first
  // dimension: q, k, v; gate, up.
  std::vector<Shape> parts;
  Shard shard;
};

// Every weight of a model, in model order. Throws ArgumentError as DecoderConfig::check does.
std::vector<WeightSpec> weight_specs(const DecoderConfig& config);

struct LayerWeights {
  AttentionInputWeights attention_input;
  LinearWeight o;        // [hidden, heads · head_dim]
  Tensor mlp_norm;       // [hidden]
  LinearWeight gate_up;  // [2 · intermediate, hidden]: gate, then up
  LinearWeight down;     // [hidden, intermediate]
};

// The parameters of a decoder, all in one dtype on one device. Filled part by part, so a
// memory-mapped file is read once and never held twice.
class DecoderWeights {
 public:
  DecoderWeights(const DecoderConfig& config, DType dtype, Device device);

  // Converts and copies a part of a weight to its place. Throws ArgumentError for a role or part
  // that the model does not have or that is loaded twice, ShapeError for a wrong shape.
  void load(const std::string& role, std::int64_t part, const Tensor& tensor);
  // Parts not loaded yet, in model order: "layers.3.qkv[1]".
  std::vector<std::string> missing() const;

  const DecoderConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Tensor& embedding() const { return embedding_; }  // [vocab, hidden]
  const Tensor& final_norm() const { return final_norm_; }
  const LinearWeight& head() const { return head_; }  // [vocab, hidden]; the embedding when tied
  const LayerWeights& layer(std::int64_t index) const {
    return layers_[static_cast<std::size_t>(index)];
  }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  struct Part {
    Tensor destination;
    bool loaded = false;
  };
  struct Weight {
    Tensor data;
    Shard shard;
    std::vector<Part> parts;
  };

  const Tensor& tensor(const std::string& role) const { return weights_.at(role).data; }
  LinearWeight linear_weight(const std::string& role) const;
  LayerWeights layer_weights(const std::string& prefix) const;

  DecoderConfig config_;
  DType dtype_;
  Device device_;
  std::size_t size_bytes_ = 0;
  std::vector<std::string> roles_;  // in model order
  std::unordered_map<std::string, Weight> weights_;
  Tensor embedding_;
  Tensor final_norm_;
  LinearWeight head_;
  std::vector<LayerWeights> layers_;
};

}  // namespace stagegate

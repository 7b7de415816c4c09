#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "model/qwen2_config.h"

namespace stagegate {

struct Qwen2LayerWeights {
  Tensor input_norm;  // [hidden]
  Tensor qkv;         // [(heads + 2 · kv_heads) · head_dim, hidden]: q, then k, then v
  Tensor qkv_bias;    // [(heads + 2 · kv_heads) · head_dim]
  Tensor o;           // [hidden, heads · head_dim]
  Tensor post_norm;   // [hidden]
  Tensor gate_up;     // [2 · intermediate, hidden]: gate, then up
  Tensor down;        // [hidden, intermediate]
};

// The parameters of a Qwen2 model in the form the layer loop wants: q, k, v and gate, up merged,
// all in one dtype on one device. Filled tensor by tensor under the names of the Hugging Face
// checkpoint, so a memory-mapped file is read once and never held twice.
class Qwen2Weights {
 public:
  Qwen2Weights(const Qwen2Config& config, DType dtype, Device device);

  // Converts and copies one checkpoint tensor to its place. Throws ArgumentError for a name that is
  // not of this model or is loaded twice, ShapeError for a wrong shape.
  void load(const std::string& name, const Tensor& tensor);
  // Checkpoint names not loaded yet, in order.
  std::vector<std::string> missing() const;

  const Qwen2Config& config() const { return config_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Tensor& embedding() const { return embedding_; }  // [vocab, hidden]
  const Tensor& final_norm() const { return final_norm_; }
  const Tensor& lm_head() const { return lm_head_; }  // [vocab, hidden]; the embedding when tied
  const Qwen2LayerWeights& layer(std::int64_t index) const {
    return layers_[static_cast<std::size_t>(index)];
  }
  std::size_t size_bytes() const;

 private:
  void expect(const std::string& name, const Tensor& destination);

  Qwen2Config config_;
  DType dtype_;
  Device device_;
  Tensor embedding_;
  Tensor final_norm_;
  Tensor lm_head_;
  std::vector<Qwen2LayerWeights> layers_;
  // Where each checkpoint tensor goes, and the names in model order.
  std::unordered_map<std::string, Tensor> pending_;
  std::vector<std::string> order_;
};

}  // namespace stagegate

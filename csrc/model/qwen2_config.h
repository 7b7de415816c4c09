#pragma once

#include <cstdint>

namespace stagegate {

// Dimensions of a Qwen2 model, named as in the Hugging Face configuration.
struct Qwen2Config {
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_layers;
  std::int64_t num_heads;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;
  float rms_norm_eps;
  double rope_theta;
  bool tie_word_embeddings;

  std::int64_t qkv_heads() const { return num_heads + 2 * num_kv_heads; }
};

}  // namespace stagegate

#pragma once

#include <cstdint>
#include <optional>

#include "ops/rope/rope.h"

namespace stagegate {

// Dimensions, numbers and variants of a decoder: pre-norm layers of grouped-query attention with
// rotary positions and a SwiGLU feed-forward, which Qwen and Llama models are. Names are those of
// the Hugging Face configurations where these have one.
struct DecoderConfig {
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_layers;
  std::int64_t num_heads;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;
  std::int64_t max_position_embeddings;  // positions the model was trained for
  double rms_norm_eps;
  double rope_theta;
  std::optional<RopeScaling> rope_scaling;
  bool qkv_bias;             // the projection to q, k and v adds a bias
  bool qk_norm;              // an RMS norm over each head of q and k, before their rotation
  bool tie_word_embeddings;  // the embedding is the head too

  std::int64_t qkv_heads() const { return num_heads + 2 * num_kv_heads; }
  // Throws ArgumentError that names the field and its value.
  void check() const;
};

}  // namespace stagegate

#pragma once

#include "core/tensor.h"
#include "model/decoder_config.h"

namespace stagegate {

// Activations of one step, allocated once for the largest step and sliced to its size: a step never
// allocates.
class Workspace {
 public:
  Workspace(const DecoderConfig& config, std::int64_t max_tokens, std::int64_t max_rows,
            DType dtype, Device device);

  Tensor residual;    // [max_tokens, hidden]
  Tensor normed;      // [max_tokens, hidden]
  Tensor qkv;         // [max_tokens, heads + 2 · kv_heads, head_dim]
  Tensor attention;   // [max_tokens, heads, head_dim]
  Tensor projected;   // [max_tokens, hidden]
  Tensor gate_up;     // [max_tokens, 2 · intermediate]
  Tensor activated;   // [max_tokens, intermediate]
  Tensor row_hidden;  // [max_rows, hidden]
  Tensor logits;      // f32 [max_rows, vocab]

  std::int64_t max_tokens() const { return residual.dim(0); }
  std::int64_t max_rows() const { return logits.dim(0); }
  std::size_t size_bytes() const;
};

}  // namespace stagegate

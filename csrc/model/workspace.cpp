#include "model/workspace.h"

#include "device/memory.h"

namespace stagegate {

Workspace::Workspace(const DecoderConfig& config, std::int64_t max_tokens, std::int64_t max_rows,
                     DType dtype, Device device)
    : residual(empty({max_tokens, config.hidden_size}, dtype, device)),
      normed(empty({max_tokens, config.hidden_size}, dtype, device)),
      qkv(empty({max_tokens, config.qkv_heads(), config.head_dim}, dtype, device)),
      attention(empty({max_tokens, config.num_heads, config.head_dim}, dtype, device)),
      projected(empty({max_tokens, config.hidden_size}, dtype, device)),
      gate_up(empty({max_tokens, 2 * config.intermediate_size}, dtype, device)),
      activated(empty({max_tokens, config.intermediate_size}, dtype, device)),
      row_hidden(empty({max_rows, config.hidden_size}, dtype, device)),
      logits(empty({max_rows, config.vocab_size}, DType::kF32, device)) {}

std::size_t Workspace::size_bytes() const {
  std::size_t total = 0;
  for (const Tensor* tensor : {&residual, &normed, &qkv, &attention, &projected, &gate_up,
                               &activated, &row_hidden, &logits}) {
    total += tensor->size_bytes();
  }
  return total;
}

}  // namespace stagegate

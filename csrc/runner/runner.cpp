#include "runner/runner.h"

#include "device/copy.h"
#include "device/memory.h"

namespace stagegate {

Runner::Runner(Qwen2Weights weights, const Context& context, std::int64_t num_slots,
               std::int64_t max_tokens, std::int64_t max_rows, std::int64_t max_positions)
    : context_(context),
      model_(std::move(weights), max_positions),
      kv_(model_.config().num_layers, num_slots, model_.config().num_kv_heads,
          model_.config().head_dim, model_.weights().dtype(), context.device),
      workspace_(model_.config(), max_tokens, max_rows, model_.weights().dtype(), context.device) {}

StepOutput Runner::step(const StepInput& input) const {
  const std::int64_t tokens = input.tensors.input_ids.numel();
  const std::int64_t rows = input.tensors.logits_indices.numel();
  SG_CHECK(ArgumentError, tokens > 0 && tokens <= workspace_.max_tokens(), "step: ", tokens,
           " tokens, the runner was planned for 1 to ", workspace_.max_tokens());
  SG_CHECK(ArgumentError, rows <= workspace_.max_rows(), "step: ", rows,
           " rows of logits, the runner was planned for ", workspace_.max_rows());
  const Tensor logits = model_.forward(context_, input.tensors, kv_, workspace_);

  StepOutput output;
  if (input.return_logits) {
    output.logits = empty(logits.shape(), DType::kF32, context_.device);
    copy(logits, output.logits);
  }
  if (input.sampling && rows > 0) {
    output.token_ids = empty({rows}, DType::kI32, context_.device);
    if (input.num_logprobs >= 0) {
      output.logprobs = empty({rows}, DType::kF32, context_.device);
      output.top_ids = empty({rows, input.num_logprobs}, DType::kI32, context_.device);
      output.top_logprobs = empty({rows, input.num_logprobs}, DType::kF32, context_.device);
    }
    sample(context_, logits, *input.sampling,
           {output.token_ids, output.logprobs, output.top_ids, output.top_logprobs});
  }
  return output;
}

}  // namespace stagegate

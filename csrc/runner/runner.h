#pragma once

#include <optional>

#include "device/context.h"
#include "kv/storage.h"
#include "model/qwen2.h"
#include "model/step.h"
#include "ops/sampling/sampling.h"

namespace stagegate {

struct StepInput {
  StepTensors tensors;
  // One row per logits index; absent when the step draws nothing.
  std::optional<SamplingInputs> sampling;
  // -1: no log-probabilities; else how many of the most likely tokens to report beside the drawn
  // one.
  std::int64_t num_logprobs = -1;
  bool return_logits = false;
};

struct StepOutput {
  Tensor token_ids;     // i32 [R]; undefined without sampling
  Tensor logprobs;      // f32 [R]; undefined without log-probabilities, as are the next two
  Tensor top_ids;       // i32 [R, N]
  Tensor top_logprobs;  // f32 [R, N]
  Tensor logits;        // f32 [R, vocab], a copy; undefined unless asked for
};

// One rank's model with everything a step needs, allocated up front: weights, KV storage,
// workspace.
class Runner {
 public:
  // A step carries at most max_tokens tokens and max_rows rows of logits, at positions below
  // max_positions.
  Runner(Qwen2Weights weights, const Context& context, std::int64_t num_slots,
         std::int64_t max_tokens, std::int64_t max_rows, std::int64_t max_positions);

  // Throws ArgumentError when the step is larger than what was planned for, and what the operators
  // throw for bad metadata. A step that throws may have written its own slots, nothing else.
  StepOutput step(const StepInput& input) const;

  std::size_t weight_bytes() const { return model_.weights().size_bytes(); }
  std::size_t kv_bytes() const { return kv_.size_bytes(); }
  std::size_t workspace_bytes() const { return workspace_.size_bytes(); }
  std::int64_t num_slots() const { return kv_.num_slots(); }

 private:
  Context context_;
  Qwen2Model model_;
  KvStorage kv_;
  Workspace workspace_;
};

}  // namespace stagegate

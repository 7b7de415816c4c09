#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "device/context.h"
#include "kv/cache.h"
#include "model/decoder.h"
#include "model/step.h"
#include "ops/sampling/sampling.h"

namespace stagegate {

namespace cuda {
class Exchange;
class GraphCache;
}  // namespace cuda

struct StepInput {
  StepTensors tensors;
  // i32 [T]: which row of the step before drew a token; -1 for one that is in input_ids. Undefined
  // when all are.
  Tensor drawn_rows;
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

// A step that was queued. Its result is on the host once wait() returns.
class PendingStep {
 public:
  explicit PendingStep(std::function<StepOutput()> finish) : finish_(std::move(finish)) {}
  // Called once, before the second step after this one is queued. Throws ArgumentError for bad
  // metadata or logits that a kernel found, DeviceError when the device failed. A step that was
  // queued by then throws the same ArgumentError: what it might have found itself is not known.
  StepOutput wait() { return finish_(); }

 private:
  std::function<StepOutput()> finish_;
};

// One rank's model with everything a step needs, allocated up front: weights, workspace and, last,
// the KV cache.
class Runner {
 public:
  // A step carries at most max_tokens tokens and max_rows rows of logits, at positions below
  // max_positions. Throws what Decoder throws.
  Runner(DecoderWeights weights, const Context& context, std::int64_t max_tokens,
         std::int64_t max_rows, std::int64_t max_positions);

  // Bytes the device can still give; what the KV cache can be sized by.
  std::size_t free_bytes() const;
  // Takes the memory for the KV cache. Called once, before any step. dtype: of the keys and values
  // it holds. Throws DTypeError unless that is the dtype of the weights: no kernel converts yet.
  void allocate_kv(std::int64_t num_slots, DType dtype);

  // Queues a step whose operands are on the host; on the CPU it has run when this returns. Throws
  // ArgumentError when the step is larger than what was planned for, and what the operators throw
  // for bad metadata. A step that throws may have written its own slots, nothing else.
  PendingStep step(StepInput input);

  std::size_t weight_bytes() const { return decoder_.weights().size_bytes(); }
  std::size_t kv_bytes() const { return kv_ ? kv_->size_bytes() : 0; }
  std::size_t workspace_bytes() const { return workspace_.size_bytes(); }
  std::int64_t num_slots() const { return kv_ ? kv_->num_slots() : 0; }

 private:
  // Logits of the rows the step asks for, f32 [R, vocab].
  Tensor forward(StepTensors& step);
  std::vector<Tensor> allocate_results(const std::vector<std::pair<DType, Shape>>& wanted);

  Context context_;
  Decoder decoder_;
  Workspace workspace_;
  std::optional<KvCache> kv_;
  // Brings operands to the device and results back; null on the CPU, where they are already.
  std::shared_ptr<cuda::Exchange> exchange_;
  // What the last step drew, where it was drawn; undefined when it drew nothing.
  Tensor drawn_;
  // Of decode steps; null on the CPU.
  std::shared_ptr<cuda::GraphCache> graphs_;
};

}  // namespace stagegate

#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "device/context.h"
#include "kv/cache.h"
#include "model/decoder.h"
#include "runner/decode_state.h"
#include "runner/graph_runner.h"
#include "runner/step_buffers.h"
#include "runner/step_io.h"
#include "runner/step_transport.h"

namespace stagegate {

// The largest step there will be.
struct RunnerLimits {
  std::int64_t max_tokens;     // of a step
  std::int64_t max_rows;       // of logits of a step
  std::int64_t max_positions;  // positions run from 0 to one less
  std::int64_t max_seqs;       // that run at the same time, and of a decode
  // Slots of a block of the tables that decodes find their keys by; 0: there are no tables, and
  // every step is an ArrayStep.
  std::int64_t block_size;
};

// One rank's model with everything a step needs, allocated up front: weights, workspace, the rows
// of sequences and, last, the KV cache.
class Runner {
 public:
  // Throws what Decoder throws.
  Runner(DecoderWeights weights, const Context& context, const RunnerLimits& limits);

  // Bytes the device can still give; what the KV cache can be sized by.
  std::size_t free_bytes() const;
  // Takes the memory for the KV cache. Called once, before any step. dtype: of the keys and values
  // it holds. Throws DTypeError unless that is the dtype of the weights: no kernel converts yet.
  void allocate_kv(std::int64_t num_slots, DType dtype);
  // Prepares decodes of every size, which would run kernel by kernel otherwise. Called when the KV
  // cache is there and no step is in flight; does nothing on the CPU or without block tables.
  void capture(const GraphRunner::Progress& progress);

  // Queue a step whose operands are on the host; on the CPU it has run when this returns. They
  // throw ArgumentError when the step is larger than what was planned for, and what the operators
  // throw for bad metadata. A step that throws may have written its own slots and rows, nothing
  // else.
  PendingStep step(ArrayStep step);
  PendingStep decode(DecodeStep step);

  std::size_t weight_bytes() const { return decoder_.weights().size_bytes(); }
  std::size_t kv_bytes() const { return kv_ ? kv_->size_bytes() : 0; }
  std::size_t workspace_bytes() const;
  std::size_t row_bytes() const { return state_.size_bytes(); }
  std::int64_t num_slots() const { return kv_ ? kv_->num_slots() : 0; }

 private:
  // Has the device decode these rows next. Whatever else goes there with the same copy: operands.
  void upload_batch(DecodeStep& step, std::int64_t batch);
  // Queues a part of a decode of so many rows; see GraphRunner.
  void queue_decode(GraphRunner::Part part, std::int64_t batch);
  // Has penalties look at the tokens of these rows, so many of each.
  void look_at_rows(SamplingInputs& sampling, const Tensor& rows, const Tensor& lens) const;
  // Samples a token from each row of logits, and its log-probabilities where they are wanted.
  StepOutput sample_rows(const Tensor& logits, const SamplingInputs& sampling,
                         const Wanted& wanted);
  PendingStep pending(const StepOutput& output);

  Context context_;
  RunnerLimits limits_;
  Decoder decoder_;
  Workspace workspace_;
  DecodeState state_;
  StepBuffers buffers_;
  GraphRunner graphs_;
  std::unique_ptr<StepTransport> transport_;
  std::optional<KvCache> kv_;
  // The rows that buffers_ has; empty when that is not known.
  std::vector<std::int32_t> batch_rows_;
};

}  // namespace stagegate

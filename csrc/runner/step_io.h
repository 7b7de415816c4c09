#pragma once

#include <functional>
#include <optional>

#include "model/step.h"
#include "ops/decode_rows/decode_rows.h"

namespace stagegate {

// What is reported besides the token of each row of logits.
struct Wanted {
  // -1: no log-probabilities; else how many of the most likely tokens beside the sampled one.
  std::int64_t num_logprobs = -1;
  bool logits = false;
};

// A step of any tokens of any sequences: prefill, chunks, mixtures, and decodes whose attention
// takes no block tables.
struct ArrayStep {
  StepTensors tensors;
  // Rows that begin with this step or got blocks; left out when there are none.
  std::optional<RowChanges> changes;
  // i32 [T]: the row whose last token this is; -1 for one that is in input_ids. Undefined when all
  // are.
  Tensor token_rows;
  // One row per logits index; absent when the step samples nothing.
  std::optional<SamplingInputs> sampling;
  // i32 [R] both: the row whose tokens penalties look at and that takes what is sampled, -1 for
  // none, and how many of its tokens have their keys and values in the cache then. Undefined: no
  // logits have a row.
  Tensor sample_rows;
  Tensor sample_lens;
  Wanted wanted;
};

// A step of one token each of sequences that have rows: what the rows do not know.
struct DecodeStep {
  Tensor rows;  // i32 [B], of the host; -1 is a padded row, which samples 0
  std::optional<RowChanges> changes;
  // One row per sequence, where sampling takes more than the row has: bias, a mask, or
  // log-probabilities. Absent: by the parameters in the rows.
  std::optional<SamplingInputs> sampling;
  Wanted wanted;
};

struct StepOutput {
  Tensor token_ids;     // i32 [R]; undefined without sampling
  Tensor logprobs;      // f32 [R]; undefined without log-probabilities, as are the next two
  Tensor top_ids;       // i32 [R, N]
  Tensor top_logprobs;  // f32 [R, N]
  Tensor logits;        // f32 [R, vocab]; undefined unless asked for
};

// A step that was queued. Its result is on the host once wait() returns.
class PendingStep {
 public:
  explicit PendingStep(std::function<StepOutput()> finish) : finish_(std::move(finish)) {}
  // Called once, while at most three steps after this one are queued. Throws ArgumentError for bad
  // metadata or logits that a kernel found, DeviceError when the device failed. A step that was
  // queued by then throws the same ArgumentError: what it might have found itself is not known.
  StepOutput wait() { return finish_(); }

 private:
  std::function<StepOutput()> finish_;
};

}  // namespace stagegate

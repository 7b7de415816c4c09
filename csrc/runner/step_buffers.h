#pragma once

#include "model/step.h"
#include "ops/decode_rows/decode_rows.h"

namespace stagegate {

// The operands of a decode and the tokens it samples, on the device at addresses that never change:
// what is captured as a graph once holds for every later batch of its size.
class StepBuffers {
 public:
  // max_batch: sequences of a decode. table_width: most blocks of a sequence.
  StepBuffers(std::int64_t max_batch, std::int64_t table_width, Device device);

  // Which rows of the decode state the batch is, i32 [batch]; -1 for a padded row.
  Tensor rows(std::int64_t batch) const { return first(rows_, batch); }
  // What gather_rows fills.
  DecodeOperands operands(std::int64_t batch) const;
  // The same as the layers take it, one token and one row of logits a sequence.
  StepTensors tensors(std::int64_t batch, std::int64_t block_size) const;
  // The same as sample takes it, without a history, bias or masks.
  SamplingInputs sampling(std::int64_t batch) const;
  Tensor token_ids(std::int64_t batch) const { return first(token_ids_, batch); }  // i32 [batch]

  std::size_t size_bytes() const;

 private:
  static Tensor first(const Tensor& buffer, std::int64_t count) {
    return buffer.slice(0, 0, count);
  }

  Tensor rows_;
  DecodeOperands operands_;
  Tensor count_;      // i32 [max_batch + 1]: 0, 1, 2, ...
  Tensor zero_;       // i32 [max_batch + 1]: of lists that are empty
  Tensor no_ids_;     // i32 [0]
  Tensor no_values_;  // f32 [0]
  Tensor token_ids_;  // i32 [max_batch]
};

}  // namespace stagegate

#pragma once

#include "core/tensor.h"
#include "ops/attend/attend.h"

namespace stagegate {

// T tokens of B sequences, the tokens of a sequence next to each other; R rows of logits wanted.
// All on the device of the model.
struct StepTensors {
  Tensor input_ids;       // i32 [T]
  Tensor positions;       // i32 [T]
  Tensor slot_mapping;    // i32 [T]
  Tensor cu_seqlens_q;    // i32 [B + 1]
  Tensor context_lens;    // i32 [B], including this step
  Tensor logits_indices;  // i32 [R]
  AttentionMetadata attention;
};

}  // namespace stagegate

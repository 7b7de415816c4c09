#pragma once

#include <cstdint>
#include <variant>

#include "core/tensor.h"

namespace stagegate {

// How the queries of a step find their keys. All tensors i32 on the device of the model.

struct PagedMetadata {
  Tensor block_tables;  // [B, W]
  std::int64_t block_size;
};

struct CsrMetadata {
  Tensor used_slots;  // [U], or longer: see ops/self_attention_paged
  Tensor row_ptr;     // [T + 1]
  Tensor col_idx;     // [nnz], or longer
};

// T tokens of B sequences, the tokens of a sequence next to each other; R rows of logits wanted.
struct StepTensors {
  Tensor input_ids;       // i32 [T]
  Tensor positions;       // i32 [T]
  Tensor slot_mapping;    // i32 [T]
  Tensor cu_seqlens_q;    // i32 [B + 1]
  Tensor context_lens;    // i32 [B], including this step
  Tensor logits_indices;  // i32 [R]
  std::variant<PagedMetadata, CsrMetadata> attention;
};

}  // namespace stagegate

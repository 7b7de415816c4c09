#pragma once

#include <cstdint>

#include "ops/attention/call.h"

// The form of a call as a kernel gets it.
namespace stagegate::cuda {

// Block tables, as in paged.h.
struct PagedKeys {
  const std::int32_t* block_tables;
  const std::int32_t* context_lens;
  const std::int32_t* first_query;  // cu_seqlens_q
  std::int64_t num_slots;
  int sequences;
  int queries;
  int width;
  int block_size;
};

// Rows of used slots, as in csr.h.
struct CsrKeys {
  static constexpr std::int32_t kPadding = -1;
  const std::int32_t* used_slots;
  const std::int32_t* row_ptr;
  const std::int32_t* col_idx;
  std::int64_t num_slots;
  int queries;
  int used;     // entries of used_slots
  int entries;  // of col_idx
};

// One sequence, key by key.
struct DenseKeys {
  int before;  // keys that the first query sees besides its own
};

// Exactly one of these. A run-time choice: keys are located once a chunk, outside the inner loops.
struct Keys {
  enum class Kind { kPaged, kCsr, kDense } kind;
  PagedKeys paged;
  CsrKeys csr;
  DenseKeys dense;
};

Keys device_keys(const AttentionCall& call);
// Upper bound, from shapes alone, of the keys a query sees.
std::int64_t max_keys(const AttentionCall& call);

}  // namespace stagegate::cuda

#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "device/context.h"
#include "ops/attention/call.h"

namespace stagegate {

enum class KeyForm { kPaged, kCsr, kDense };

// What the choice of an attention kernel depends on: shapes and strides, never values in memory, as
// a captured graph must.
struct AttentionProblem {
  DeviceType device;
  int compute_capability;    // as Stream has it; 0 on the CPU
  AttentionBackend backend;  // native, but where FlashInfer is asked for and the form is paged
  bool deterministic;
  KeyForm form;
  bool one_query_each;  // paged: as many queries as sequences, as in a decode
  DType dtype;
  std::int64_t head_dim;
  std::int64_t group;  // query heads of a key head
  float scale;
  bool rows_aligned;            // of q, k, v and out
  bool equal_strides;           // of k and v
  std::int64_t query_elements;  // of q and of out, gaps between rows included: the greater
  std::int64_t num_slots;       // of the cache
  std::int64_t block_size;      // paged: slots of a block
  std::int64_t block_elements;  // paged: of a block of the cache, likewise
  std::int64_t table_slots;     // paged: slots that all block tables name
};

// Something that a kernel does not take.
struct AttentionLimit {
  bool (*holds)(const AttentionProblem& problem);
  // What is taken instead and what was found, behind "FlashInfer takes".
  std::string (*describe)(const AttentionProblem& problem, const AttentionCall& call);
};

// A kernel and what it can do.
struct AttentionKernel {
  const char* name;
  DeviceType device;
  AttentionBackend backend;
  unsigned forms;       // bit 1 << form for each form it serves
  bool one_query_each;  // serves problems of one query a sequence
  bool deterministic;   // a query's sum does not depend on the other queries
  std::array<const AttentionLimit*, 8> limits;  // null behind the last
  // Null in a build without it.
  void (*run)(const Context& context, const AttentionCall& call);
};

AttentionProblem describe(const Context& context, const AttentionCall& call);

// The kernel for a problem; null when there is none.
const AttentionKernel* select_attention(const AttentionProblem& problem);

// Selects and runs. op: the operator, for errors. Throws ArgumentError for a limit of FlashInfer
// where that is asked for, ShapeError for one of all kernels.
void run_attention(const char* op, const Context& context, const AttentionCall& call);

}  // namespace stagegate

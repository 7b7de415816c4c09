#pragma once

#include <cstdint>

#include "device/context.h"

namespace stagegate::cuda {

struct PagedKeys;

// Who computes what in a call of FlashInfer, in device memory under the names it has there. A tile
// is `tile_rows` pairs (query, head of a group) of one sequence, a chunk part of its keys; a thread
// block goes through one tile and one chunk, for each key head.
struct FlashInferPlan {
  // The cache: key p of sequence b is in page page_indices[page_indptr[b] + p / block_size].
  std::int32_t* page_indices;   // [sequences · width]
  std::int32_t* page_indptr;    // [sequences + 1]
  std::int32_t* last_page_len;  // [sequences]; see plan.cu
  // The thread blocks.
  std::int32_t* request_indices;  // [blocks]: sequence
  std::int32_t* qo_tile_indices;  // [blocks]: tile of that
  std::int32_t* kv_tile_indices;  // [blocks]: chunk of that
  bool* block_valid_mask;         // [blocks]: whether there is work at all
  std::int32_t* kv_chunk_size;    // [1]: keys of a chunk
  // The results: chunk by chunk of query by query where keys are cut, else query by query.
  std::int32_t* o_indptr;      // [sequences + 1]: first result of a sequence
  std::int32_t* merge_indptr;  // [queries + 1]: first result of a query; only where keys are cut
  void* partial_out;           // [partials, heads, head_dim] of the dtype; null: keys are not cut
  float* partial_lse;          // [partials, heads]
  // Ours.
  std::int32_t* first_block;  // [sequences + 1]
  int tile_rows;
  int blocks;
};

// The shapes of a call, which alone decide the sizes above.
struct FlashInferShape {
  int heads, kv_heads, head_dim;
};

// Takes scratch memory of the stream and queues the kernel that fills it. Metadata that breaks the
// rules of paged.h is reported, and then no block gets work. The rows of out, a dense tensor of 16
// bits a number, that belong to padding are set to zero: FlashInfer passes them over.
FlashInferPlan plan_flashinfer(const Context& context, const PagedKeys& keys,
                               const FlashInferShape& shape, void* out);

}  // namespace stagegate::cuda

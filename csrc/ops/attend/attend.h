#pragma once

#include <cstdint>
#include <variant>

#include "core/tensor.h"
#include "device/context.h"
#include "kv/cache.h"

namespace stagegate {

// How the queries of a step find their keys. All tensors i32.

struct PagedMetadata {
  Tensor block_tables;  // [B, W]
  std::int64_t block_size;
};

struct CsrMetadata {
  Tensor used_slots;  // [U], or longer: see ops/attention/csr.h
  Tensor row_ptr;     // [T + 1]
  Tensor col_idx;     // [nnz], or longer
};

using AttentionMetadata = std::variant<PagedMetadata, CsrMetadata>;

// Second block of a layer: each query attends to the keys and values it sees in the cache.
//   q            float [T, heads, head_dim], rows may be strided
//   kv           same dtype [S, kv_heads, head_dim]; heads % kv_heads == 0
//   metadata     which rows of the cache those are: as paged_attention or self_attention_paged has
//                it, which also say what is refused
//   context_lens i32 [B], cu_seqlens_q i32 [B + 1]: of the paged form
// In the paged form the metadata, and the keys and values of earlier steps, are complete before the
// operator queued just before this one starts; see paged_attention_in_step.
//   out          same dtype [T, heads, head_dim]
void attend(const Context& context, const Tensor& q, const KvLayer& kv,
            const AttentionMetadata& metadata, const Tensor& context_lens,
            const Tensor& cu_seqlens_q, float scale, const Tensor& out);

}  // namespace stagegate

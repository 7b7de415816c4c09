#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Attention through block tables: logical position p of sequence b lives in cache slot
// block_tables[b, p / block_size] · block_size + p % block_size.
//   q, out           float [T, heads, head_dim], rows of q may be strided
//   k_cache, v_cache same dtype [S, kv_heads, head_dim]; heads % kv_heads == 0
//   block_tables     i32 [B, W]; entries past a sequence's last block are never read
//   context_lens     i32 [B], tokens of each sequence including those of this call
//   cu_seqlens_q     i32 [B + 1], first query of each sequence; cu_seqlens_q[B] = T
// The queries of a sequence are its last positions (bottom-right causal), so prefill, prefill
// behind a cached prefix, decode and any mixture are one call. A sequence of no tokens is padding:
// it may have queries, which see nothing, and zeros are written for them. Scores and accumulation
// stay in f32.
// The values of a sequence's later tokens in this step must be finite: a kernel may multiply them
// by the zero that they weigh for an earlier query, and zero times infinity is NaN. Their keys, and
// what no query sees, may be anything.
// Throws ArgumentError when the metadata breaks one of these rules or names a slot outside [0, S).
void paged_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                     const Tensor& v_cache, const Tensor& block_tables, const Tensor& context_lens,
                     const Tensor& cu_seqlens_q, std::int64_t block_size, float scale,
                     const Tensor& out);

// The same inside a step. The metadata, and the keys and values before those of a sequence's
// queries, are complete before the operator queued just before this one starts: a GPU may read them
// while that one runs.
void paged_attention_in_step(const Context& context, const Tensor& q, const Tensor& k_cache,
                             const Tensor& v_cache, const Tensor& block_tables,
                             const Tensor& context_lens, const Tensor& cu_seqlens_q,
                             std::int64_t block_size, float scale, const Tensor& out);

}  // namespace stagegate

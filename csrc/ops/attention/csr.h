#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Attention over an explicit list of cache slots for each query: the general form, which any layout
// and any visibility rule can be written in. Causality lives only in the rows.
//   q, out           float [T, heads, head_dim], rows of q may be strided
//   k_cache, v_cache same dtype [S, kv_heads, head_dim]; heads % kv_heads == 0
//   used_slots       i32 [U], ascending, unique, in [0, S)
//   row_ptr          i32 [T + 1], row_ptr[0] = 0, non-decreasing, row_ptr[T] = nnz
//   col_idx          i32 [nnz], indices into used_slots, ascending and unique inside a row
// used_slots and col_idx may be longer and end in entries of -1, so that steps whose numbers of
// keys differ can have operands of one shape.
// out[t] = softmax(scale · q[t] · K[L]) · V[L] with L = used_slots[col_idx[row_ptr[t] : row_ptr[t +
// 1]]]; an empty row gives zeros. Scores and accumulation stay in f32. Throws ArgumentError when
// the metadata breaks one of these rules.
void self_attention_paged(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const Tensor& used_slots, const Tensor& row_ptr,
                          const Tensor& col_idx, float scale, const Tensor& out);

}  // namespace stagegate

#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"
#include "ops/checks.h"

namespace stagegate::checks {

// What every attention operator asks of queries, keys, values and result. Keys and values come
// under the names the operator has for them.
void attention(std::string_view op, const Context& context, const Tensor& q, Operand keys,
               Operand values, const Tensor& out);

// What is asked of the two ways to say which keys a query sees; see paged.h and csr.h.
void paged_metadata(std::string_view op, const Context& context, const Tensor& block_tables,
                    const Tensor& context_lens, const Tensor& cu_seqlens_q,
                    std::int64_t block_size);
void csr_metadata(std::string_view op, const Context& context, std::int64_t num_queries,
                  const Tensor& used_slots, const Tensor& row_ptr, const Tensor& col_idx);

}  // namespace stagegate::checks

#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cuda {

struct PagedKeys;

// Whether paged_prefill has a kernel for these operands: 16 bits, head_dim 64 or 128, rows that
// start at multiples of 16 bytes, those of the result too.
bool paged_prefill_fits(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
                        const Tensor& out);

// Paged attention on tensor cores. Scores, maxima, totals and sums in f32; weights are rounded to
// the dtype for the product with the values. A tile of values is multiplied whole, by zero where a
// row does not see one, so the later tokens of a sequence need finite values, as in
// FlashAttention-2.
void paged_prefill(const Context& context, const Tensor& q, const Tensor& k_cache,
                   const Tensor& v_cache, const PagedKeys& keys, float scale, const Tensor& out);

}  // namespace stagegate::cuda

#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cuda {

struct PagedKeys;

// Paged attention by FlashInfer (Ye et al., arXiv 2501.01005), a second implementation to compare
// ours with; defined where kFlashInferEnabled. It takes f16 and bf16, head_dim 64 and 128, any
// group, any block size, a positive scale, rows that start at multiples of 16 bytes, and caches
// whose rows are equally far apart; throws ArgumentError for anything else.
// Scores, maxima and sums are in f32. Weights are rounded to the dtype for the product with the
// values and for their total. Where the keys of a sequence are cut into chunks, so is the result of
// each.
void flashinfer_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const PagedKeys& keys, float scale,
                          const Tensor& out);

}  // namespace stagegate::cuda

#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Dense causal attention of one sequence: out = softmax(scale · q · Kᵀ) · V. With L >= T, query t
// sees keys [0, L - T + t] (bottom-right causal). Scores and accumulation stay in f32.
//   q, out float [T, heads, head_dim], rows of q may be strided
//   k, v   same dtype [L, kv_heads, head_dim], rows may be strided; heads % kv_heads == 0
void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out);

}  // namespace stagegate

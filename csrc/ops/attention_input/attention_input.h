#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "kv/cache.h"
#include "ops/linear/linear_weight.h"
#include "ops/rope/rope.h"

namespace stagegate {

struct AttentionInputWeights {
  Tensor norm;       // [H]; undefined where the block before has normed
  LinearWeight qkv;  // [(heads + 2 · kv_heads) · head_dim, H]: q, then k, then v
  // [head_dim]: norms over each head of q and of k. Undefined, both, in a model without them.
  Tensor q_norm;
  Tensor k_norm;
};

// First block of a layer, up to what attention reads: norm, projection to q, k and v, norms of q
// and k where the model has them, rotation of both, and k and v written to the cache.
//   residual     float [T, H]
//   weights      same dtype
//   positions    i32 [T], in [0, P)
//   rope_table   f32 [P, head_dim / 2]
//   slot_mapping i32 [T], a slot of the cache; -1 is skipped
//   kv           same dtype [S, kv_heads, head_dim]; heads % kv_heads == 0
//   normed       same dtype [T, H]: workspace; without weights.norm the normed residual, an operand
//   qkv          same dtype [T, heads + 2 · kv_heads, head_dim]: the result
// Throws ArgumentError naming the first position or slot that is out of range.
void attention_input(const Context& context, const Tensor& residual,
                     const AttentionInputWeights& weights, float eps, const Tensor& positions,
                     const RopeTable& rope_table, const Tensor& slot_mapping, const KvLayer& kv,
                     const Tensor& normed, const Tensor& qkv);

}  // namespace stagegate

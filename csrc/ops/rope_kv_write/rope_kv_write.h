#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"
#include "kv/cache.h"
#include "ops/rope/rope.h"

namespace stagegate {

// Norms over each head of q and of k; both undefined in a model without them.
struct HeadNorms {
  Tensor q;  // [head_dim]
  Tensor k;  // [head_dim]
  float eps = 0.0f;
};

// What becomes of q, k and v before attention reads them: norms of the heads of q and k where there
// are any, rotation of both, and k and v written to the cache. The results are those of rms_norm,
// rope and kv_write, bit for bit.
//   qkv          float [T, heads + 2 · kv_heads, head_dim], q and k in place; heads % kv_heads == 0
//   norms        same dtype
//   positions    i32 [T], in [0, P)
//   rope_table   f32 [P, head_dim / 2]
//   slot_mapping i32 [T], a slot of the cache; -1 is skipped
//   kv           same dtype [S, kv_heads, head_dim]
// Throws ArgumentError naming the first position or slot that is out of range.
void rope_kv_write(const Context& context, const Tensor& qkv, const HeadNorms& norms,
                   const Tensor& positions, const RopeTable& rope_table, const Tensor& slot_mapping,
                   const KvLayer& kv);

namespace checks {

// What an operator that does this among other things asks of these operands.
void rope_kv_write(std::string_view op, const Context& context, const Tensor& qkv,
                   const HeadNorms& norms, const Tensor& positions, const RopeTable& rope_table,
                   const Tensor& slot_mapping, const KvLayer& kv);

}  // namespace checks

}  // namespace stagegate

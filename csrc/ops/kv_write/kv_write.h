#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// k_cache[slot_mapping[t]] = k[t], and the same for v. A slot of -1 is skipped (padding).
//   k, v             float [T, kv_heads, head_dim], rows may be strided
//   slot_mapping     i32 [T]
//   k_cache, v_cache same dtype [S, kv_heads, head_dim]
// Throws ArgumentError naming the first slot outside [-1, S).
void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache);

}  // namespace stagegate

#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out[t] = table[ids[t]].
//   ids   i32 [T]
//   table float [V, H]
//   out   same dtype [T, H]
// Throws ArgumentError naming the first id outside [0, V).
void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out);

}  // namespace stagegate

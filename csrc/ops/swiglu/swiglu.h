#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// out = silu(gate) · up, with gate and up side by side (Shazeer, 2020).
//   gate_up float [T, 2 · I]: gate in the first half of a row, up in the second
//   out     same dtype [T, I]
void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out);

}  // namespace stagegate

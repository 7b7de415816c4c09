#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cpu {

// linear through oneDNN, which packs and blocks for large M. False when this build has no oneDNN or
// it has no kernel for these dtypes on this processor; out is untouched then.
bool linear_onednn(const Context& context, const Tensor& x, const Tensor& weight,
                   const Tensor& bias, const Tensor& out);

}  // namespace stagegate::cpu

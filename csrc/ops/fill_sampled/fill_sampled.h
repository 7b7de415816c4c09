#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Fills in tokens that were sampled on the device and that the host has not seen:
// ids[t] = last_token[rows[t]], where rows[t] is not -1.
//   last_token i32 [S], the token that each row sampled last
//   rows       i32 [T]
//   ids        i32 [T], changed in place
// Throws ArgumentError naming the first row outside [-1, S).
void fill_sampled(const Context& context, const Tensor& last_token, const Tensor& rows,
                  const Tensor& ids);

}  // namespace stagegate

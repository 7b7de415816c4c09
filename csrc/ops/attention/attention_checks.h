#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::checks {

// What every attention operator asks of queries, keys, values and result.
void attention(std::string_view op, const Context& context, const Tensor& q, const Tensor& k,
               const Tensor& v, const Tensor& out);

}  // namespace stagegate::checks

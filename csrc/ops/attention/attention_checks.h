#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"
#include "ops/checks.h"

namespace stagegate::checks {

// What every attention operator asks of queries, keys, values and result. Keys and values come
// under the names the operator has for them.
void attention(std::string_view op, const Context& context, const Tensor& q, Operand keys,
               Operand values, const Tensor& out);

}  // namespace stagegate::checks

#pragma once

#include "device/context.h"
#include "ops/attention/call.h"

namespace stagegate::cuda {

// attention_decode, compiled apart for each dtype.
template <typename T>
void attend_decode(const Context& context, const AttentionCall& call);

}  // namespace stagegate::cuda

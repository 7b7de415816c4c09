#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cuda {

struct Keys;

// Attention on CUDA cores over the keys that `keys` names: any head_dim up to 256, any group, every
// dtype. Scores and accumulation in f32, in an order that depends on nothing but the position of a
// key among those its query sees: all operators that come here agree bit for bit.
//   max_keys  upper bound, from shapes alone, of the keys a query sees
void attend(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
            const Keys& keys, std::int64_t max_keys, float scale, const Tensor& out);

// The same, compiled apart for each dtype.
template <typename T>
void attend_typed(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                  const Keys& keys, std::int64_t max_keys, float scale, const Tensor& out);

}  // namespace stagegate::cuda

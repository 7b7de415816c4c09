#pragma once

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate::cuda {

struct Keys;

// Whether attend_decode has a kernel for these operands: 16 bits, head_dim 64 or 128, rows that
// start at multiples of 16 bytes, those of the result too, a positive scale.
bool attend_decode_fits(const Tensor& q, const Tensor& k, const Tensor& v, float scale,
                        const Tensor& out);

// As attend, on tensor cores: the heads that share a key head are the rows of one product. Each
// query is on its own, so this is for queries that see nearly different keys, as in a decode.
// Weights are rounded to the dtype for the product with the values, and the keys of a query are
// added up in an order that depends on the number of queries.
void attend_decode(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Keys& keys, std::int64_t max_keys, float scale, const Tensor& out);

}  // namespace stagegate::cuda

#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// The norm that the next block begins with, for a block that ends with a sum. Without a weight:
// none, the next block norms for itself.
struct NextNorm {
  Tensor weight;  // [H]
  float eps = 0.0f;
  Tensor out;  // [T, H]: the norm of the sum

  bool wanted() const { return weight.defined(); }
};

// residual += x, then out = rms_norm(residual, weight, eps). The sum is rounded to the dtype before
// it is normed: the results are those of add and rms_norm, bit for bit.
//   x        float [T, H]
//   residual same dtype [T, H], added to in place
//   weight   same dtype [H]
//   out      same dtype [T, H]; may be x
void add_rms_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const Tensor& weight, float eps, const Tensor& out);

// residual += x, and the norm of it where one is wanted.
void add_and_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const NextNorm& next);

// The norm of a residual that is a sum already, where one is wanted.
void norm_for_next(const Context& context, const Tensor& residual, const NextNorm& next);

namespace checks {

// What an operator that ends with a sum asks of the norm after it: operands next_norm and
// next_normed.
void next_norm(std::string_view op, const Context& context, const NextNorm& next,
               const Tensor& residual);

}  // namespace checks

}  // namespace stagegate

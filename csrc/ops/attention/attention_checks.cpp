#include "ops/attention/attention_checks.h"

#include "ops/checks.h"

namespace stagegate::checks {

void attention(std::string_view op, const Context& context, const Tensor& q, Operand keys,
               Operand values, const Tensor& out) {
  const Tensor& k = *keys.tensor;
  const Tensor& v = *values.tensor;
  shape(op, "q", q, {-1, -1, -1});
  shape(op, keys.name, k, {-1, -1, q.dim(2)});
  shape(op, values.name, v, k.shape());
  shape(op, "out", out, q.shape());
  SG_CHECK(ShapeError, k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, op, ": ", q.dim(1),
           " query heads are not a multiple of ", k.dim(1), " key heads");
  floating(op, "q", q);
  dtype(op, keys.name, k, q.dtype());
  dtype(op, values.name, v, q.dtype());
  dtype(op, "out", out, q.dtype());
  for (const auto& [name, tensor] : {Operand{"q", &q}, keys, values}) {
    device(op, name, *tensor, context);
    rows_contiguous(op, name, *tensor);
  }
  dense(op, context, {{"out", &out}});
}

}  // namespace stagegate::checks

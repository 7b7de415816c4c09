#include "ops/attention/attention_checks.h"

#include "ops/checks.h"

namespace stagegate::checks {

void attention(std::string_view op, const Context& context, const Tensor& q, const Tensor& k,
               const Tensor& v, const Tensor& out) {
  shape(op, "q", q, {-1, -1, -1});
  shape(op, "k", k, {-1, -1, q.dim(2)});
  shape(op, "v", v, k.shape());
  shape(op, "out", out, q.shape());
  SG_CHECK(ShapeError, k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, op, ": ", q.dim(1),
           " query heads are not a multiple of ", k.dim(1), " key heads");
  floating(op, "q", q);
  dtype(op, "k", k, q.dtype());
  dtype(op, "v", v, q.dtype());
  dtype(op, "out", out, q.dtype());
  device(op, "q", q, context);
  device(op, "k", k, context);
  device(op, "v", v, context);
  rows_contiguous(op, "q", q);
  rows_contiguous(op, "k", k);
  rows_contiguous(op, "v", v);
  dense(op, context, {{"out", &out}});
}

}  // namespace stagegate::checks

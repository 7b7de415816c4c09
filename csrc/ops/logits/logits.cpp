#include "ops/logits/logits.h"

#include "device/range.h"
#include "ops/checks.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear.h"
#include "ops/logits/forms.h"
#include "ops/rms_norm/rms_norm.h"

namespace stagegate {

void logits(const Context& context, const Tensor& residual, const Tensor& indices,
            const Tensor& norm, float eps, const LinearWeight& head, const Tensor& rows,
            const Tensor& out) {
  constexpr const char* kOp = "logits";
  checks::shape(kOp, "residual", residual, {-1, -1});
  checks::floating(kOp, "residual", residual);
  checks::shape(kOp, "indices", indices, {-1});
  checks::shape(kOp, "norm", norm, {residual.dim(1)});
  checks::shape(kOp, "rows", rows, {indices.dim(0), residual.dim(1)});
  checks::shape(kOp, "out", out, {indices.dim(0), -1});
  checks::dtype(kOp, "indices", indices, DType::kI32);
  checks::dtype(kOp, "norm", norm, residual.dtype());
  checks::dtype(kOp, "rows", rows, residual.dtype());
  checks::dtype(kOp, "out", out, DType::kF32);
  checks::dense(kOp, context,
                {{"residual", &residual},
                 {"indices", &indices},
                 {"norm", &norm},
                 {"rows", &rows},
                 {"out", &out}});
  checks::linear_weight(kOp, {"head_weight", "head_bias"}, context, head, out.dim(1),
                        residual.dim(1), residual.dtype());

  const LogitsCall call{residual, indices, norm, eps, head, rows, out};
  if (run_form(kOp, context, logits_forms(), describe(context, call), call)) return;
  const Range range(kOp);
  // Selecting rows is an embedding look-up.
  embedding(context, indices, residual, rows);
  rms_norm(context, rows, norm, eps, rows);
  linear(context, rows, head.data, head.bias, out);
}

}  // namespace stagegate

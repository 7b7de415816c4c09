#include "ops/attention_output/attention_output.h"

#include "device/range.h"
#include "ops/add_rms_norm/add_rms_norm.h"
#include "ops/attention_output/forms.h"
#include "ops/checks.h"
#include "ops/linear/linear.h"

namespace stagegate {

void attention_output(const Context& context, const Tensor& attention, const LinearWeight& o,
                      const Tensor& projected, const Tensor& residual, const NextNorm& next) {
  constexpr const char* kOp = "attention_output";
  checks::shape(kOp, "attention", attention, {-1, -1, -1});
  checks::floating(kOp, "attention", attention);
  checks::shape(kOp, "residual", residual, {attention.dim(0), -1});
  checks::shape(kOp, "projected", projected, residual.shape());
  checks::dtype(kOp, "residual", residual, attention.dtype());
  checks::dtype(kOp, "projected", projected, attention.dtype());
  checks::dense(kOp, context,
                {{"attention", &attention}, {"residual", &residual}, {"projected", &projected}});
  const std::int64_t width = attention.dim(1) * attention.dim(2);
  checks::linear_weight(kOp, {"o_weight", "o_bias"}, context, o, residual.dim(1), width,
                        attention.dtype());
  checks::next_norm(kOp, context, next, residual);

  const AttentionOutputCall call{attention, o, projected, residual};
  if (run_form(kOp, context, attention_output_forms(), describe(context, call), call)) {
    return norm_for_next(context, residual, next);
  }
  const Range range(kOp);
  linear(context, attention.view({attention.dim(0), width}), o.data, o.bias, projected);
  add_and_norm(context, projected, residual, next);
}

}  // namespace stagegate

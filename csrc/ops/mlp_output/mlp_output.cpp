#include "ops/mlp_output/mlp_output.h"

#include "device/range.h"
#include "ops/add_rms_norm/add_rms_norm.h"
#include "ops/checks.h"
#include "ops/linear/linear.h"
#include "ops/mlp_output/forms.h"

namespace stagegate {

void mlp_output(const Context& context, const Tensor& activated, const LinearWeight& down,
                const Tensor& projected, const Tensor& residual, const NextNorm& next) {
  constexpr const char* kOp = "mlp_output";
  checks::shape(kOp, "activated", activated, {-1, -1});
  checks::floating(kOp, "activated", activated);
  checks::shape(kOp, "residual", residual, {activated.dim(0), -1});
  checks::shape(kOp, "projected", projected, residual.shape());
  checks::dtype(kOp, "residual", residual, activated.dtype());
  checks::dtype(kOp, "projected", projected, activated.dtype());
  checks::dense(kOp, context,
                {{"activated", &activated}, {"residual", &residual}, {"projected", &projected}});
  checks::linear_weight(kOp, {"down_weight", "down_bias"}, context, down, residual.dim(1),
                        activated.dim(1), activated.dtype());
  checks::next_norm(kOp, context, next, residual);

  const MlpOutputCall call{activated, down, projected, residual};
  if (run_form(kOp, context, mlp_output_forms(), describe(context, call), call)) {
    return norm_for_next(context, residual, next);
  }
  const Range range(kOp);
  linear(context, activated, down.data, down.bias, projected);
  add_and_norm(context, projected, residual, next);
}

}  // namespace stagegate

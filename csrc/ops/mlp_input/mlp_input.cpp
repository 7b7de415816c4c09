#include "ops/mlp_input/mlp_input.h"

#include "device/range.h"
#include "ops/checks.h"
#include "ops/linear/linear.h"
#include "ops/mlp_input/forms.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/swiglu/swiglu.h"

namespace stagegate {

void mlp_input(const Context& context, const Tensor& residual, const Tensor& norm, float eps,
               const LinearWeight& gate_up, const Tensor& normed, const Tensor& projected,
               const Tensor& activated) {
  constexpr const char* kOp = "mlp_input";
  checks::shape(kOp, "residual", residual, {-1, -1});
  checks::floating(kOp, "residual", residual);
  checks::shape(kOp, "normed", normed, residual.shape());
  checks::shape(kOp, "activated", activated, {residual.dim(0), -1});
  checks::shape(kOp, "projected", projected, {residual.dim(0), 2 * activated.dim(1)});
  checks::dtype(kOp, "normed", normed, residual.dtype());
  checks::dtype(kOp, "activated", activated, residual.dtype());
  checks::dtype(kOp, "projected", projected, residual.dtype());
  checks::dense(kOp, context,
                {{"residual", &residual},
                 {"normed", &normed},
                 {"activated", &activated},
                 {"projected", &projected}});
  checks::linear_weight(kOp, {"gate_up_weight", "gate_up_bias"}, context, gate_up, projected.dim(1),
                        residual.dim(1), residual.dtype());
  if (norm.defined()) {
    checks::shape(kOp, "norm", norm, {residual.dim(1)});
    checks::dtype(kOp, "norm", norm, residual.dtype());
    checks::dense(kOp, context, {{"norm", &norm}});
  }

  const MlpInputCall call{residual, norm, eps, gate_up, normed, projected, activated};
  const BlockProblem problem = describe(context, call);
  if (norm.defined() && run_form(kOp, context, mlp_input_forms(), problem, call)) return;
  const Range range(kOp);
  if (norm.defined()) rms_norm(context, residual, norm, eps, normed);
  if (run_form("gated_linear", context, gated_linear_forms(), problem, call)) return;
  compose_gated_linear(context, call);
}

void compose_gated_linear(const Context& context, const MlpInputCall& call) {
  linear(context, call.normed, call.gate_up.data, call.gate_up.bias, call.projected);
  swiglu(context, call.projected, call.activated);
}

}  // namespace stagegate

#include "ops/linear/linear.h"

#include "device/ledger.h"
#include "ops/checks.h"
#include "ops/linear/select.h"

namespace stagegate {

void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out) {
  checks::shape("linear", "x", x, {-1, -1});
  checks::shape("linear", "weight", weight, {-1, x.dim(1)});
  checks::shape("linear", "out", out, {x.dim(0), weight.dim(0)});
  checks::floating("linear", "x", x);
  checks::dtype("linear", "weight", weight, x.dtype());
  if (out.dtype() != DType::kF32) checks::dtype("linear", "out", out, x.dtype());
  checks::device("linear", "x", x, context);
  checks::rows_contiguous("linear", "x", x);
  checks::dense("linear", context, {{"weight", &weight}, {"out", &out}});
  if (bias.defined()) {
    checks::shape("linear", "bias", bias, {weight.dim(0)});
    checks::dtype("linear", "bias", bias, x.dtype());
    checks::dense("linear", context, {{"bias", &bias}});
  }
  const Dispatch dispatch("linear", context.device);
  if (out.numel() == 0) return;
  const LinearOperands operands{x, weight, bias, out};
  const LinearProblem problem = describe(context, operands);
  const LinearKernel* kernel = select_linear(problem);
  while (kernel != nullptr && kernel->run != nullptr) {
    if (kernel->run(context, problem, operands)) return;
    kernel = select_linear(problem, kernel);
  }
  checks::no_kernel("linear", context);
}

}  // namespace stagegate

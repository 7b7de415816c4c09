#include "ops/linear/linear.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out);
}
namespace cuda {
void linear(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const Tensor& out);
}

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
  if (context.device.is_cpu()) return cpu::linear(context, x, weight, bias, out);
  if constexpr (cuda::kEnabled) return cuda::linear(context, x, weight, bias, out);
  checks::no_kernel("linear", context);
}

}  // namespace stagegate

#include "ops/argmax/argmax.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void argmax(const Context& context, const Tensor& x, const Tensor& out);
}
namespace cuda {
void argmax(const Context& context, const Tensor& x, const Tensor& out);
}

void argmax(const Context& context, const Tensor& x, const Tensor& out) {
  checks::shape("argmax", "x", x, {-1, -1});
  checks::shape("argmax", "out", out, {x.dim(0)});
  SG_CHECK(ShapeError, x.dim(1) > 0, "argmax: rows of x are empty, got ", x.describe());
  checks::floating("argmax", "x", x);
  checks::dtype("argmax", "out", out, DType::kI32);
  checks::dense("argmax", context, {{"x", &x}, {"out", &out}});
  const Dispatch dispatch("argmax", context.device);
  if (context.device.is_cpu()) return cpu::argmax(context, x, out);
  if constexpr (cuda::kEnabled) return cuda::argmax(context, x, out);
  checks::no_kernel("argmax", context);
}

}  // namespace stagegate

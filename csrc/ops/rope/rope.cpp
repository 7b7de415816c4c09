#include "ops/rope/rope.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin);
}
namespace cuda {
void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin);
}

void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin) {
  checks::shape("rope", "x", x, {-1, -1, -1});
  SG_CHECK(ShapeError, x.dim(2) % 2 == 0, "rope: head_dim of x must be even, got ", x.describe());
  checks::shape("rope", "positions", positions, {x.dim(0)});
  checks::shape("rope", "cos", cos, {-1, x.dim(2) / 2});
  checks::shape("rope", "sin", sin, cos.shape());
  checks::floating("rope", "x", x);
  checks::dtype("rope", "positions", positions, DType::kI32);
  checks::dtype("rope", "cos", cos, DType::kF32);
  checks::dtype("rope", "sin", sin, DType::kF32);
  checks::device("rope", "x", x, context);
  checks::rows_contiguous("rope", "x", x);
  checks::dense("rope", context, {{"positions", &positions}, {"cos", &cos}, {"sin", &sin}});
  const Dispatch dispatch("rope", context.device);
  if (context.device.is_cpu()) return cpu::rope(context, x, positions, cos, sin);
  if constexpr (cuda::kEnabled) return cuda::rope(context, x, positions, cos, sin);
  checks::no_kernel("rope", context);
}

}  // namespace stagegate

#include "ops/rms_norm/rms_norm.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out);
}
namespace cuda {
void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out);
}

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out) {
  if (x.rank() == 3) {
    checks::shape("rms_norm", "x", x, {-1, -1, -1});
  } else {
    checks::shape("rms_norm", "x", x, {-1, -1});
  }
  checks::shape("rms_norm", "weight", weight, {x.dim(x.rank() - 1)});
  checks::shape("rms_norm", "out", out, x.shape());
  checks::floating("rms_norm", "x", x);
  checks::dtype("rms_norm", "weight", weight, x.dtype());
  checks::dtype("rms_norm", "out", out, x.dtype());
  checks::dense("rms_norm", context, {{"weight", &weight}});
  for (const auto& [name, tensor] : {std::pair{"x", &x}, std::pair{"out", &out}}) {
    checks::device("rms_norm", name, *tensor, context);
    checks::rows_contiguous("rms_norm", name, *tensor);
  }
  const Dispatch dispatch("rms_norm", context.device);
  if (context.device.is_cpu()) return cpu::rms_norm(context, x, weight, eps, out);
  if constexpr (cuda::kEnabled) return cuda::rms_norm(context, x, weight, eps, out);
  checks::no_kernel("rms_norm", context);
}

}  // namespace stagegate

#include "ops/swiglu/swiglu.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out);
}
namespace cuda {
void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out);
}

void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out) {
  checks::shape("swiglu", "gate_up", gate_up, {-1, -1});
  SG_CHECK(ShapeError, gate_up.dim(1) % 2 == 0, "swiglu: rows of gate_up must be even, got ",
           gate_up.describe());
  checks::shape("swiglu", "out", out, {gate_up.dim(0), gate_up.dim(1) / 2});
  checks::floating("swiglu", "gate_up", gate_up);
  checks::dtype("swiglu", "out", out, gate_up.dtype());
  checks::dense("swiglu", context, {{"gate_up", &gate_up}, {"out", &out}});
  const Dispatch dispatch("swiglu", context.device);
  if (context.device.is_cpu()) return cpu::swiglu(context, gate_up, out);
  if constexpr (cuda::kEnabled) return cuda::swiglu(context, gate_up, out);
  checks::no_kernel("swiglu", context);
}

}  // namespace stagegate

#include "ops/swiglu/swiglu.h"

#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out);
}

void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out) {
  checks::shape("swiglu", "out", out, {-1, -1});
  checks::shape("swiglu", "gate_up", gate_up, {out.dim(0), 2 * out.dim(1)});
  checks::floating("swiglu", "gate_up", gate_up);
  checks::dtype("swiglu", "out", out, gate_up.dtype());
  checks::dense("swiglu", context, {{"gate_up", &gate_up}, {"out", &out}});
  if (context.device.is_cpu()) return cpu::swiglu(context, gate_up, out);
  checks::no_kernel("swiglu", context);
}

}  // namespace stagegate

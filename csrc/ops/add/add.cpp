#include "ops/add/add.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out);
}
namespace cuda {
void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out);
}

void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out) {
  checks::floating("add", "a", a);
  checks::shape("add", "b", b, a.shape());
  checks::shape("add", "out", out, a.shape());
  checks::dtype("add", "b", b, a.dtype());
  checks::dtype("add", "out", out, a.dtype());
  checks::dense("add", context, {{"a", &a}, {"b", &b}, {"out", &out}});
  const Dispatch dispatch("add", context.device);
  if (context.device.is_cpu()) return cpu::add(context, a, b, out);
  if constexpr (cuda::kEnabled) return cuda::add(context, a, b, out);
  checks::no_kernel("add", context);
}

}  // namespace stagegate

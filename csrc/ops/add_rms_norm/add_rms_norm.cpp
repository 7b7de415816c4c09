#include "ops/add_rms_norm/add_rms_norm.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/add/add.h"
#include "ops/checks.h"
#include "ops/rms_norm/rms_norm.h"

namespace stagegate {

namespace cuda {
// Whether a block holds a row of these operands.
bool add_rms_norm_takes(const Tensor& x, const Tensor& residual, const Tensor& weight,
                        const Tensor& out);
void add_rms_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const Tensor& weight, float eps, const Tensor& out);
}  // namespace cuda

void add_rms_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const Tensor& weight, float eps, const Tensor& out) {
  constexpr const char* kOp = "add_rms_norm";
  checks::shape(kOp, "x", x, {-1, -1});
  checks::floating(kOp, "x", x);
  checks::shape(kOp, "residual", residual, x.shape());
  checks::shape(kOp, "weight", weight, {x.dim(1)});
  checks::shape(kOp, "out", out, x.shape());
  checks::dtype(kOp, "residual", residual, x.dtype());
  checks::dtype(kOp, "weight", weight, x.dtype());
  checks::dtype(kOp, "out", out, x.dtype());
  checks::dense(kOp, context,
                {{"x", &x}, {"residual", &residual}, {"weight", &weight}, {"out", &out}});
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda() && cuda::add_rms_norm_takes(x, residual, weight, out)) {
      const Dispatch dispatch(kOp, context.device);
      return cuda::add_rms_norm(context, x, residual, weight, eps, out);
    }
  }
  const Range range(kOp);
  add(context, residual, x, residual);
  rms_norm(context, residual, weight, eps, out);
}

void add_and_norm(const Context& context, const Tensor& x, const Tensor& residual,
                  const NextNorm& next) {
  if (next.wanted()) return add_rms_norm(context, x, residual, next.weight, next.eps, next.out);
  add(context, residual, x, residual);
}

void norm_for_next(const Context& context, const Tensor& residual, const NextNorm& next) {
  if (next.wanted()) rms_norm(context, residual, next.weight, next.eps, next.out);
}

namespace checks {

void next_norm(std::string_view op, const Context& context, const NextNorm& next,
               const Tensor& residual) {
  if (!next.wanted()) return;
  checks::shape(op, "next_norm", next.weight, {residual.dim(1)});
  checks::shape(op, "next_normed", next.out, residual.shape());
  checks::dtype(op, "next_norm", next.weight, residual.dtype());
  checks::dtype(op, "next_normed", next.out, residual.dtype());
  checks::dense(op, context, {{"next_norm", &next.weight}, {"next_normed", &next.out}});
}

}  // namespace checks

}  // namespace stagegate

#include "ops/fill_sampled/fill_sampled.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void fill_sampled(const Context& context, const Tensor& last_token, const Tensor& rows,
                  const Tensor& ids);
}
namespace cuda {
void fill_sampled(const Context& context, const Tensor& last_token, const Tensor& rows,
                  const Tensor& ids);
}

void fill_sampled(const Context& context, const Tensor& last_token, const Tensor& rows,
                  const Tensor& ids) {
  constexpr const char* kOp = "fill_sampled";
  checks::shape(kOp, "last_token", last_token, {-1});
  checks::shape(kOp, "rows", rows, {-1});
  checks::shape(kOp, "ids", ids, rows.shape());
  checks::dtype(kOp, "last_token", last_token, DType::kI32);
  checks::dtype(kOp, "rows", rows, DType::kI32);
  checks::dtype(kOp, "ids", ids, DType::kI32);
  checks::dense(kOp, context, {{"last_token", &last_token}, {"rows", &rows}, {"ids", &ids}});
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu()) return cpu::fill_sampled(context, last_token, rows, ids);
  if constexpr (cuda::kEnabled) return cuda::fill_sampled(context, last_token, rows, ids);
  checks::no_kernel(kOp, context);
}

}  // namespace stagegate

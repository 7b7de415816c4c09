#include "ops/fill_drawn/fill_drawn.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void fill_drawn(const Context& context, const Tensor& drawn, const Tensor& rows, const Tensor& ids);
}
namespace cuda {
void fill_drawn(const Context& context, const Tensor& drawn, const Tensor& rows, const Tensor& ids);
}

void fill_drawn(const Context& context, const Tensor& drawn, const Tensor& rows,
                const Tensor& ids) {
  checks::shape("fill_drawn", "drawn", drawn, {-1});
  checks::shape("fill_drawn", "rows", rows, {-1});
  checks::shape("fill_drawn", "ids", ids, rows.shape());
  checks::dtype("fill_drawn", "drawn", drawn, DType::kI32);
  checks::dtype("fill_drawn", "rows", rows, DType::kI32);
  checks::dtype("fill_drawn", "ids", ids, DType::kI32);
  checks::dense("fill_drawn", context, {{"drawn", &drawn}, {"rows", &rows}, {"ids", &ids}});
  const Dispatch dispatch("fill_drawn", context.device);
  if (context.device.is_cpu()) return cpu::fill_drawn(context, drawn, rows, ids);
  if constexpr (cuda::kEnabled) return cuda::fill_drawn(context, drawn, rows, ids);
  checks::no_kernel("fill_drawn", context);
}

}  // namespace stagegate

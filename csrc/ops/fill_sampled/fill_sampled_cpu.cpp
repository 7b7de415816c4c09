#include "core/check.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/fill_sampled/fill_sampled_faults.h"

namespace stagegate::cpu {

void fill_sampled(const Context&, const Tensor& last_token, const Tensor& rows, const Tensor& ids) {
  const std::int32_t* from = last_token.data<std::int32_t>();
  const std::int32_t* row = rows.data<std::int32_t>();
  std::int32_t* to = ids.data<std::int32_t>();
  for (std::int64_t t = 0; t < rows.numel(); ++t) {
    if (row[t] == -1) continue;
    SG_CHECK(ArgumentError, row[t] >= 0 && row[t] < last_token.numel(),
             describe(make_fault(FillSampledFault::kRow, row[t], t, last_token.numel())));
    to[t] = from[row[t]];
  }
}

}  // namespace stagegate::cpu

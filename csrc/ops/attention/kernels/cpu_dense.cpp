#include <numeric>

#include "ops/attention/kernels/cpu_attend.h"

namespace stagegate::cpu {

void attend_form(const Context& context, const AttentionCall& call, const DenseForm&) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(call.k.dim(0)));
  std::iota(rows.begin(), rows.end(), 0);
  const std::int64_t before = call.k.dim(0) - call.q.dim(0);
  attend(context, call, [&](std::int64_t t, std::vector<std::int32_t>&) {
    return std::span<const std::int32_t>(rows.data(), static_cast<std::size_t>(before + t + 1));
  });
}

}  // namespace stagegate::cpu

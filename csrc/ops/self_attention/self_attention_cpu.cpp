#include <numeric>

#include "ops/attention/attention_cpu.h"

namespace stagegate::cpu {

void self_attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale, const Tensor& out) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(k.dim(0)));
  std::iota(rows.begin(), rows.end(), 0);
  const std::int64_t before = k.dim(0) - q.dim(0);
  attend(context, q, k, v, scale, out, [&](std::int64_t t, std::vector<std::int32_t>&) {
    return std::span<const std::int32_t>(rows.data(), static_cast<std::size_t>(before + t + 1));
  });
}

}  // namespace stagegate::cpu

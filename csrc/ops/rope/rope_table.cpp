#include <cmath>

#include "device/copy.h"
#include "device/memory.h"
#include "ops/rope/rope.h"

namespace stagegate {

RopeTable make_rope_table(std::int64_t max_positions, std::int64_t head_dim, double theta,
                          Device device) {
  SG_CHECK(ArgumentError, max_positions > 0 && head_dim > 0 && head_dim % 2 == 0 && theta > 0,
           "rope: needs positions, an even head_dim and a positive theta, got ", max_positions,
           ", ", head_dim, " and ", theta);
  const std::int64_t half = head_dim / 2;
  const Tensor cos = empty({max_positions, half}, DType::kF32, Device{});
  const Tensor sin = empty({max_positions, half}, DType::kF32, Device{});
  for (std::int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    for (std::int64_t p = 0; p < max_positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      cos.data<float>()[p * half + i] = static_cast<float>(std::cos(angle));
      sin.data<float>()[p * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return {to(cos, DType::kF32, device), to(sin, DType::kF32, device)};
}

}  // namespace stagegate

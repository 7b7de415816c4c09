#include <cmath>
#include <numbers>

#include "device/copy.h"
#include "device/memory.h"
#include "ops/rope/rope.h"

namespace stagegate {

namespace {

double scaled(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const double turns = static_cast<double>(scaling.original_max_positions) / wavelength;
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double kept =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - kept) * frequency / scaling.factor + kept * frequency;
}

}  // namespace

void RopeScaling::check() const {
  SG_CHECK(ArgumentError, std::isfinite(factor) && factor >= 1.0,
           "rope scaling: factor must be a number from 1, got ", factor);
  SG_CHECK(ArgumentError,
           std::isfinite(high_freq_factor) && 0.0 < low_freq_factor &&
               low_freq_factor < high_freq_factor,
           "rope scaling: low_freq_factor must be above 0 and below high_freq_factor, got ",
           low_freq_factor, " and ", high_freq_factor);
  SG_CHECK(ArgumentError, original_max_positions > 0,
           "rope scaling: original_max_positions must be positive, got ", original_max_positions);
}

RopeTable make_rope_table(std::int64_t max_positions, std::int64_t head_dim, double theta,
                          const std::optional<RopeScaling>& scaling, Device device) {
  if (scaling) scaling->check();
  SG_CHECK(ArgumentError, max_positions > 0 && head_dim > 0 && head_dim % 2 == 0 && theta > 0,
           "rope: needs positions, an even head_dim and a positive theta, got ", max_positions,
           ", ", head_dim, " and ", theta);
  const std::int64_t half = head_dim / 2;
  const Tensor cos = empty({max_positions, half}, DType::kF32, Device{});
  const Tensor sin = empty({max_positions, half}, DType::kF32, Device{});
  for (std::int64_t i = 0; i < half; ++i) {
    const double unscaled =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double frequency = scaling ? scaled(unscaled, *scaling) : unscaled;
    for (std::int64_t p = 0; p < max_positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      cos.data<float>()[p * half + i] = static_cast<float>(std::cos(angle));
      sin.data<float>()[p * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return {to(cos, DType::kF32, device), to(sin, DType::kF32, device)};
}

}  // namespace stagegate

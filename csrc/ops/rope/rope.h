#pragma once

#include <optional>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// Rotary position embedding (Su et al., 2021) in the half-split form of the Hugging Face models:
// element i of the first half of a head is rotated with element i of the second half.
//   x         float [T, heads, head_dim], rotated in place, rows may be strided
//   positions i32 [T]
//   cos, sin  f32 [P, head_dim / 2]
// Throws ArgumentError naming the first position outside [0, P).
void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin);

struct RopeTable {
  Tensor cos;  // f32 [P, head_dim / 2]
  Tensor sin;
};

// How Llama 3.1 reaches beyond the positions it was trained on: frequencies whose wavelength is
// longer than original_max_positions / low_freq_factor are divided by factor, those whose is
// shorter than original_max_positions / high_freq_factor stay, and what lies between goes over
// from one to the other.
struct RopeScaling {
  double factor;
  double low_freq_factor;
  double high_freq_factor;
  std::int64_t original_max_positions;

  // Throws ArgumentError for a number that is out of range.
  void check() const;
};

// Angles position · theta^(-2i / head_dim), scaled if asked for, computed in double.
RopeTable make_rope_table(std::int64_t max_positions, std::int64_t head_dim, double theta,
                          const std::optional<RopeScaling>& scaling, Device device);

}  // namespace stagegate

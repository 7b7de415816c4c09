#pragma once

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

// Angles position · theta^(-2i / head_dim), computed in double.
RopeTable make_rope_table(std::int64_t max_positions, std::int64_t head_dim, double theta,
                          Device device);

}  // namespace stagegate

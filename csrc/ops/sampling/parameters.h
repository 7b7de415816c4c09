#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/scalar.h"

// The parameters that a row of sample() has, one value each. A line here is what a parameter is to
// operands, checks, errors, bindings, the runner and the kernels of every device, which read it as
// `row.<name>`:
//   X(name, type, off, valid, range)
//     type   of the value; its tensor is [R] of the dtype that stores it
//     off    with this value a row is sampled as if there were no such parameter
//     valid  the condition on `value`; of a float, it is false for NaN
//     range  the same in words, behind "must be"
#define STAGEGATE_SAMPLING_PARAMETERS(X)                                         \
  /* 0 is greedy. */                                                             \
  X(temperature, float, 1, value >= 0 && value < INFINITY, "0 or more")          \
  X(top_k, std::int32_t, 0, value >= 0, "0 or more")                             \
  X(top_p, float, 1, value > 0 && value <= 1, "above 0 and at most 1")           \
  X(min_p, float, 0, value >= 0 && value <= 1, "from 0 to 1")                    \
  /* Keskar et al., CTRL, 2019 */                                                \
  X(repetition_penalty, float, 1, value > 0 && value < INFINITY, "above 0")      \
  /* OpenAI API reference */                                                     \
  X(presence_penalty, float, 0, value > -INFINITY && value < INFINITY, "finite") \
  X(frequency_penalty, float, 0, value > -INFINITY && value < INFINITY, "finite")

namespace stagegate {

// A line of the table, to read at run time.
struct SamplingParameter {
  std::string_view name;
  DType dtype;
  double off;
  std::string_view range;
};

inline constexpr SamplingParameter kSamplingParameters[] = {
#define STAGEGATE_LINE(name, type, off, valid, range) {#name, dtype_of<type>::value, off, range},
    STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_LINE)
#undef STAGEGATE_LINE
};

// The place of each in kSamplingParameters.
enum class SamplingParameterIndex : std::size_t {
#define STAGEGATE_INDEX(name, ...) name,
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_INDEX)
#undef STAGEGATE_INDEX
};

}  // namespace stagegate

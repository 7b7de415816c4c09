#pragma once

#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>

#include "core/error.h"

namespace stagegate {

// Joins its arguments into one string; the way every error message here is built.
template <typename... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace stagegate

// SG_CHECK(ShapeError, x.rank() == 2, "linear: x must be [M, K], got ", x.describe())
#define SG_CHECK(ErrorType, condition, ...)               \
  do {                                                    \
    if (!(condition)) [[unlikely]] {                      \
      throw ErrorType(::stagegate::message(__VA_ARGS__)); \
    }                                                     \
  } while (false)

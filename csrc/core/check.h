#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

#include "core/error.h"

namespace stagegate {

// Without streams: they look up how to write a number in a locale, and a module that carries its
// own C++ library finds the locale of another there.
template <typename Part>
void append_to(std::string& text, const Part& part) {
  if constexpr (std::same_as<Part, bool>) {
    text += part ? '1' : '0';
  } else if constexpr (std::same_as<Part, char>) {
    text += part;
  } else if constexpr (std::integral<Part> || std::floating_point<Part>) {
    char digits[32];
    if constexpr (std::integral<Part>) {
      text.append(digits, std::to_chars(digits, digits + sizeof(digits), part).ptr);
    } else {
      // As printf's %g.
      text.append(
          digits,
          std::to_chars(digits, digits + sizeof(digits), part, std::chars_format::general, 6).ptr);
    }
  } else {
    text += part;
  }
}

// Joins its arguments into one string; the way every error message here is built.
template <typename... Parts>
std::string message(const Parts&... parts) {
  std::string text;
  (append_to(text, parts), ...);
  return text;
}

}  // namespace stagegate

// SG_CHECK(ShapeError, x.rank() == 2, "linear: x must be [M, K], got ", x.describe())
#define SG_CHECK(ErrorType, condition, ...)               \
  do {                                                    \
    if (!(condition)) [[unlikely]] {                      \
      throw ErrorType(::stagegate::message(__VA_ARGS__)); \
    }                                                     \
  } while (false)

#pragma once

#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/scalar.h"

namespace stagegate {

// Calls fn with a value of the C++ type behind a floating dtype:
//   dispatch_floating("add", x.dtype(), [&](auto tag) { using T = decltype(tag); ... });
template <typename Fn>
void dispatch_floating(std::string_view op, DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kF32:
      return std::forward<Fn>(fn)(float{});
    case DType::kF16:
      return std::forward<Fn>(fn)(float16{});
    case DType::kBF16:
      return std::forward<Fn>(fn)(bfloat16{});
    default:
      throw DTypeError(message(op, ": no kernel for ", name_of(dtype)));
  }
}

}  // namespace stagegate

#include "core/dtype.h"

#include "core/check.h"

namespace stagegate {

DType dtype_from_name(std::string_view name) {
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kI32, DType::kI64, DType::kU8}) {
    if (name_of(dtype) == name) return dtype;
  }
  throw DTypeError(message("unknown dtype '", name, "'; use f32, f16, bf16, i32, i64 or u8"));
}

}  // namespace stagegate

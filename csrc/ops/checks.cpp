#include "ops/checks.h"

#include <span>

namespace stagegate::checks {

namespace {

void check_shape(std::string_view op, std::string_view operand, const Tensor& tensor,
                 std::span<const std::int64_t> wanted) {
  bool matches = tensor.defined() && tensor.shape().size() == wanted.size();
  for (std::size_t i = 0; matches && i < wanted.size(); ++i) {
    matches = wanted[i] < 0 || wanted[i] == tensor.shape()[i];
  }
  SG_CHECK(ShapeError, matches, op, ": ", operand, " must have shape ",
           to_string(Shape(wanted.begin(), wanted.end())), " (-1 = any), got ", tensor.describe());
}

}  // namespace

void shape(std::string_view op, std::string_view operand, const Tensor& tensor,
           const Shape& wanted) {
  check_shape(op, operand, tensor, wanted);
}

void shape(std::string_view op, std::string_view operand, const Tensor& tensor,
           std::initializer_list<std::int64_t> wanted) {
  check_shape(op, operand, tensor, {wanted.begin(), wanted.size()});
}

void dtype(std::string_view op, std::string_view operand, const Tensor& tensor, DType wanted) {
  SG_CHECK(DTypeError, tensor.dtype() == wanted, op, ": ", operand, " must be ", name_of(wanted),
           ", got ", tensor.describe());
}

void floating(std::string_view op, std::string_view operand, const Tensor& tensor) {
  SG_CHECK(DTypeError, is_floating(tensor.dtype()), op, ": ", operand,
           " must be f32, f16 or bf16, got ", tensor.describe());
}

void device(std::string_view op, std::string_view operand, const Tensor& tensor,
            const Context& context) {
  SG_CHECK(DeviceError, tensor.defined() && tensor.device() == context.device, op, ": ", operand,
           " must be on ", context.device.name(), ", got ", tensor.describe());
}

void is_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor) {
  SG_CHECK(ContiguityError, tensor.is_contiguous(), op, ": ", operand, " must be contiguous, got ",
           tensor.describe(), " with strides ", to_string(tensor.strides()));
}

void rows_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor) {
  SG_CHECK(ContiguityError, tensor.is_row_contiguous(), op, ": ", operand,
           " must have contiguous rows, got ", tensor.describe(), " with strides ",
           to_string(tensor.strides()));
}

void unscaled(std::string_view op, std::string_view operand, const Tensor& scale) {
  SG_CHECK(DTypeError, !scale.defined(), op, ": ", operand,
           " must have no scale, which no kernel multiplies with yet, got ", scale.describe());
}

void dense(std::string_view op, const Context& context, std::initializer_list<Operand> operands) {
  for (const auto& [name, tensor] : operands) {
    device(op, name, *tensor, context);
    is_contiguous(op, name, *tensor);
  }
}

void no_kernel(std::string_view op, const Context& context) {
  throw DeviceError(
      message(op, ": no implementation for ", context.device.name(), " in this build"));
}

}  // namespace stagegate::checks

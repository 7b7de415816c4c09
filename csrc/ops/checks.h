#pragma once

#include <initializer_list>
#include <string_view>

#include "core/tensor.h"
#include "device/context.h"

// What every operator asks of its operands. Each check throws the typed error that names the
// operator, the operand and what was found.
namespace stagegate::checks {

// A dimension of -1 matches anything. Throws ShapeError.
void shape(std::string_view op, std::string_view operand, const Tensor& tensor,
           const Shape& wanted);
// The same for dimensions that are written out, which are no vector until they have to be shown.
void shape(std::string_view op, std::string_view operand, const Tensor& tensor,
           std::initializer_list<std::int64_t> wanted);
// Throws DTypeError.
void dtype(std::string_view op, std::string_view operand, const Tensor& tensor, DType wanted);
void floating(std::string_view op, std::string_view operand, const Tensor& tensor);
// Throws DeviceError unless the tensor lives on the device of the context.
void device(std::string_view op, std::string_view operand, const Tensor& tensor,
            const Context& context);
// Throw ContiguityError.
void is_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor);
void rows_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor);
// The scale of stored numbers that no kernel here multiplies with. Throws DTypeError when there is
// one.
void unscaled(std::string_view op, std::string_view operand, const Tensor& scale);

struct Operand {
  std::string_view name;
  const Tensor* tensor;
};
// Each operand on the device of the context and contiguous. Throws DeviceError or ContiguityError.
void dense(std::string_view op, const Context& context, std::initializer_list<Operand> operands);

// For dispatch: the operator has no implementation on this device in this build.
[[noreturn]] void no_kernel(std::string_view op, const Context& context);

}  // namespace stagegate::checks

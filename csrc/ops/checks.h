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
// Throws DTypeError.
void dtype(std::string_view op, std::string_view operand, const Tensor& tensor, DType wanted);
void floating(std::string_view op, std::string_view operand, const Tensor& tensor);
// Throws DeviceError unless the tensor lives on the device of the context.
void device(std::string_view op, std::string_view operand, const Tensor& tensor,
            const Context& context);
// Throw ContiguityError.
void is_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor);
void rows_contiguous(std::string_view op, std::string_view operand, const Tensor& tensor);

struct Operand {
  std::string_view name;
  const Tensor* tensor;
};
// Each operand on the device of the context and contiguous. Throws DeviceError or ContiguityError.
void dense(std::string_view op, const Context& context, std::initializer_list<Operand> operands);

// For dispatch: the operator has no implementation on this device in this build.
[[noreturn]] void no_kernel(std::string_view op, const Context& context);

}  // namespace stagegate::checks

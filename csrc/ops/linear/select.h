#pragma once

#include <cstdint>
#include <optional>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

struct LinearOperands {
  const Tensor& x;
  const Tensor& weight;
  const Tensor& bias;
  const Tensor& out;
};

// What the choice of a kernel for a product depends on.
struct LinearProblem {
  DeviceType device;
  InstructionSet instruction_set;
  bool deterministic;
  DType dtype;  // of x, weight and bias
  DType out_dtype;
  std::int64_t rows;
  std::int64_t width;
  std::int64_t depth;
  std::int64_t x_stride;  // elements from one row of x to the next, at least the depth
  bool has_bias;
  // Bytes that x, weight and out, and every step from row to row of them, are a multiple of: a
  // power of two, at most kLinearAlignment.
  std::uint32_t alignment;
  std::uint32_t bias_alignment;  // and the bias
};

// Bytes that fast kernels load at a time.
inline constexpr std::uint32_t kLinearAlignment = 16;

// A kernel and what it can do.
struct LinearKernel {
  const char* name;
  DeviceType device;
  std::optional<DType> dtype;      // the only one; none: every floating dtype
  InstructionSet instruction_set;  // the least one that has it
  std::int64_t least_rows;         // with fewer another is faster
  bool without_depth;              // takes products of no numbers
  bool deterministic;              // a row of the result does not depend on the number of rows
  // Rounds a 16-bit result with a bias once, wherever its operands begin. Else it does only where
  // all begin at multiples of kLinearAlignment.
  bool rounds_once_anywhere;
  // False where the library behind it turns out to have none for these operands, which are left as
  // they were. Null in a build without the device.
  bool (*run)(const Context& context, const LinearProblem& problem, const LinearOperands& operands);
};

LinearProblem describe(const Context& context, const LinearOperands& operands);

// The preferred kernel that takes a problem of at least one row and column, of those behind `after`
// where that could not; null when there is none.
const LinearKernel* select_linear(const LinearProblem& problem,
                                  const LinearKernel* after = nullptr);

}  // namespace stagegate

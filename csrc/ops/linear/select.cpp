#include "ops/linear/select.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "device/cuda/runtime.h"
#include "ops/linear/kernels/kernels.h"

namespace stagegate {

namespace {

using Run = decltype(LinearKernel::run);

constexpr Run kCublasLt = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::linear_cublaslt;
  return nullptr;
}();
constexpr Run kGeneral = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::linear_general;
  return nullptr;
}();

constexpr DeviceType kCpu = DeviceType::kCPU;
constexpr DeviceType kGpu = DeviceType::kCUDA;
constexpr auto kAnyDType = std::nullopt;
constexpr InstructionSet kAnySet = InstructionSet::kPortable;

// Device by device in order of preference; the last of a device takes everything.
// amx: one order of summation for any number of rows.
// onednn: packing the operands pays from 16 rows on (measured in bf16 without AMX, two cores); the
//   order of summation changes with the number of rows.
// cublaslt: its kernels for rows that begin between boundaries round the product to 16 bits and
// then
//   add the bias, as adding it apart would. No model has such operands, so a slower kernel for them
//   costs nothing.
constexpr LinearKernel kKernels[] = {
    {.name = "amx",
     .device = kCpu,
     .dtype = DType::kBF16,
     .instruction_set = InstructionSet::kAmx,
     .least_rows = 1,
     .without_depth = false,
     .deterministic = true,
     .rounds_once_anywhere = true,
     .run = &cpu::linear_amx},
    {.name = "onednn",
     .device = kCpu,
     .dtype = kAnyDType,
     .instruction_set = kAnySet,
     .least_rows = 16,
     .without_depth = false,
     .deterministic = false,
     .rounds_once_anywhere = true,
     .run = &cpu::linear_onednn},
    {.name = "simd",
     .device = kCpu,
     .dtype = kAnyDType,
     .instruction_set = kAnySet,
     .least_rows = 1,
     .without_depth = true,
     .deterministic = true,
     .rounds_once_anywhere = true,
     .run = &cpu::linear_simd},
    {.name = "cublaslt",
     .device = kGpu,
     .dtype = kAnyDType,
     .instruction_set = kAnySet,
     .least_rows = 1,
     .without_depth = false,
     .deterministic = true,
     .rounds_once_anywhere = false,
     .run = kCublasLt},
    {.name = "general",
     .device = kGpu,
     .dtype = kAnyDType,
     .instruction_set = kAnySet,
     .least_rows = 1,
     .without_depth = true,
     .deterministic = true,
     .rounds_once_anywhere = true,
     .run = kGeneral},
};

bool takes(const LinearKernel& kernel, const LinearProblem& problem) {
  if (kernel.device != problem.device) return false;
  if (kernel.instruction_set > problem.instruction_set) return false;
  if (kernel.dtype.value_or(problem.dtype) != problem.dtype) return false;
  if (kernel.least_rows > problem.rows) return false;
  if (!kernel.without_depth && problem.depth == 0) return false;
  if (!kernel.deterministic && problem.deterministic) return false;
  const bool rounds_bias = problem.has_bias && problem.out_dtype != DType::kF32;
  const bool aligned =
      problem.alignment == kLinearAlignment && problem.bias_alignment == kLinearAlignment;
  return kernel.rounds_once_anywhere || aligned || !rounds_bias;
}

// The largest power of two, up to kLinearAlignment, that every address and step is a multiple of.
std::uint32_t common_alignment(std::initializer_list<std::uintptr_t> values) {
  std::uintptr_t bits = kLinearAlignment;
  for (const std::uintptr_t value : values) bits |= value;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

std::uintptr_t address(const Tensor& tensor) {
  return reinterpret_cast<std::uintptr_t>(tensor.raw_data());
}

std::uintptr_t step(const Tensor& tensor, std::int64_t elements) {
  return static_cast<std::uintptr_t>(elements) * size_of(tensor.dtype());
}

}  // namespace

LinearProblem describe(const Context& context, const LinearOperands& operands) {
  const auto& [x, weight, bias, out] = operands;
  const std::int64_t rows = x.dim(0);
  const std::int64_t width = weight.dim(0);
  const std::int64_t depth = weight.dim(1);
  // One row may have any stride, and a library takes none below the depth. A longer one stays, so
  // that a row has the alignment, and with it the kernel, that it has among others.
  const std::int64_t x_stride = rows == 1 ? std::max(depth, x.stride(0)) : x.stride(0);
  return {
      .device = context.device.type,
      .instruction_set = context.instruction_set,
      .deterministic = context.deterministic,
      .dtype = x.dtype(),
      .out_dtype = out.dtype(),
      .rows = rows,
      .width = width,
      .depth = depth,
      .x_stride = x_stride,
      .has_bias = bias.defined(),
      .alignment = common_alignment({address(x), address(weight), address(out), step(x, x_stride),
                                     step(weight, depth), step(out, width)}),
      .bias_alignment = bias.defined() ? common_alignment({address(bias)}) : kLinearAlignment,
  };
}

const LinearKernel* select_linear(const LinearProblem& problem, const LinearKernel* after) {
  const LinearKernel* const first = after == nullptr ? std::begin(kKernels) : after + 1;
  const auto found = std::find_if(first, std::end(kKernels), [&](const LinearKernel& kernel) {
    return takes(kernel, problem);
  });
  return found == std::end(kKernels) ? nullptr : found;
}

}  // namespace stagegate

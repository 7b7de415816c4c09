// Which kernel a matrix product gets, on devices that need not be here.

#include <string>

#include "check.h"
#include "ops/linear/select.h"

namespace {

using stagegate::DeviceType;
using stagegate::DType;
using stagegate::InstructionSet;
using stagegate::LinearProblem;

std::string kernel_of(const LinearProblem& problem) {
  return stagegate::select_linear(problem)->name;
}

LinearProblem product(DeviceType device) {
  return {.device = device,
          .instruction_set = InstructionSet::kAvx512,
          .deterministic = false,
          .dtype = DType::kBF16,
          .out_dtype = DType::kBF16,
          .rows = 15,
          .width = 64,
          .depth = 64,
          .x_stride = 64,
          .has_bias = true,
          .alignment = 16,
          .bias_alignment = 16};
}

void on_a_cpu() {
  LinearProblem problem = product(DeviceType::kCPU);
  CHECK(kernel_of(problem) == "simd");
  problem.rows = 16;
  CHECK(kernel_of(problem) == "onednn");
  CHECK(std::string(select_linear(problem, select_linear(problem))->name) == "simd");
  problem.deterministic = true;
  CHECK(kernel_of(problem) == "simd");
  problem.instruction_set = InstructionSet::kAmx;
  CHECK(kernel_of(problem) == "amx");
  problem.dtype = problem.out_dtype = DType::kF16;
  CHECK(kernel_of(problem) == "simd");
  problem.dtype = problem.out_dtype = DType::kBF16;
  problem.depth = 0;
  CHECK(kernel_of(problem) == "simd");
}

void on_a_gpu() {
  LinearProblem problem = product(DeviceType::kCUDA);
  CHECK(kernel_of(problem) == "cublaslt");
  CHECK(std::string(select_linear(problem, select_linear(problem))->name) == "general");
  problem.deterministic = true;
  CHECK(kernel_of(problem) == "cublaslt");
  problem.bias_alignment = 2;
  CHECK(kernel_of(problem) == "general");
  problem.out_dtype = DType::kF32;
  CHECK(kernel_of(problem) == "cublaslt");
  problem.out_dtype = DType::kBF16;
  problem.bias_alignment = 16;
  problem.alignment = 8;
  CHECK(kernel_of(problem) == "general");
  problem.has_bias = false;
  CHECK(kernel_of(problem) == "cublaslt");
  problem.depth = 0;
  CHECK(kernel_of(problem) == "general");
}

}  // namespace

int main() {
  on_a_cpu();
  on_a_gpu();
}

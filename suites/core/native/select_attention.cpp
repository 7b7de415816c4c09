// Which kernel attention gets, on devices that need not be here.

#include <string>

#include "check.h"
#include "ops/attention/select.h"

namespace {

using stagegate::AttentionBackend;
using stagegate::AttentionProblem;
using stagegate::DeviceType;
using stagegate::DType;
using stagegate::KeyForm;

std::string kernel_of(const AttentionProblem& problem) {
  const stagegate::AttentionKernel* kernel = stagegate::select_attention(problem);
  return kernel == nullptr ? "none" : kernel->name;
}

AttentionProblem prefill() {
  return {.device = DeviceType::kCUDA,
          .backend = AttentionBackend::kNative,
          .deterministic = false,
          .form = KeyForm::kPaged,
          .one_query_each = false,
          .dtype = DType::kBF16,
          .head_dim = 64,
          .scale = 0.125f,
          .rows_aligned = true,
          .equal_strides = true,
          .query_elements = 1 << 20,
          .block_elements = 1 << 12,
          .table_slots = 1 << 12};
}

// Changes one thing at a time of a problem that the wanted kernel takes.
template <typename Change>
AttentionProblem with(AttentionProblem problem, Change change) {
  change(problem);
  return problem;
}

void on_a_cpu_everything_is_one_kernel() {
  for (const KeyForm form : {KeyForm::kPaged, KeyForm::kCsr, KeyForm::kDense}) {
    CHECK(kernel_of(with(prefill(), [&](auto& p) {
            p.device = DeviceType::kCPU;
            p.form = form;
            p.head_dim = 999;
          })) == "simd");
  }
}

void on_a_gpu() {
  CHECK(kernel_of(prefill()) == "prefill");
  const AttentionProblem decode = with(prefill(), [](auto& p) { p.one_query_each = true; });
  CHECK(kernel_of(decode) == "decode");
  CHECK(kernel_of(with(prefill(), [](auto& p) { p.form = KeyForm::kCsr; })) == "decode");
  CHECK(kernel_of(with(prefill(), [](auto& p) { p.form = KeyForm::kDense; })) == "general");
  for (const AttentionProblem& problem : {prefill(), decode}) {
    CHECK(kernel_of(with(problem, [](auto& p) { p.dtype = DType::kF32; })) == "general");
    CHECK(kernel_of(with(problem, [](auto& p) { p.head_dim = 96; })) == "general");
    CHECK(kernel_of(with(problem, [](auto& p) { p.scale = -1.0f; })) == "general");
    CHECK(kernel_of(with(problem, [](auto& p) { p.rows_aligned = false; })) == "general");
    CHECK(kernel_of(with(problem, [](auto& p) { p.deterministic = true; })) == "general");
    CHECK(kernel_of(with(problem, [](auto& p) { p.head_dim = 257; })) == "none");
  }
}

void flashinfer_is_never_replaced() {
  const AttentionProblem asked =
      with(prefill(), [](auto& p) { p.backend = AttentionBackend::kFlashInfer; });
  CHECK(kernel_of(asked) == "flashinfer");
  CHECK(kernel_of(with(asked, [](auto& p) { p.one_query_each = true; })) == "flashinfer");
  CHECK(kernel_of(with(asked, [](auto& p) { p.dtype = DType::kF32; })) == "none");
  CHECK(kernel_of(with(asked, [](auto& p) { p.head_dim = 96; })) == "none");
  CHECK(kernel_of(with(asked, [](auto& p) { p.scale = 0.0f; })) == "none");
  CHECK(kernel_of(with(asked, [](auto& p) { p.rows_aligned = false; })) == "none");
  CHECK(kernel_of(with(asked, [](auto& p) { p.equal_strides = false; })) == "none");
  CHECK(kernel_of(with(asked, [](auto& p) { p.table_slots = std::int64_t{1} << 31; })) == "none");
}

}  // namespace

int main() {
  on_a_cpu_everything_is_one_kernel();
  on_a_gpu();
  flashinfer_is_never_replaced();
}

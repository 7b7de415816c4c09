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

// Ampere's; Hopper has one of its own.
AttentionProblem prefill() {
  return {.device = DeviceType::kCUDA,
          .compute_capability = 80,
          .backend = AttentionBackend::kNative,
          .deterministic = false,
          .form = KeyForm::kPaged,
          .one_query_each = false,
          .dtype = DType::kBF16,
          .head_dim = 64,
          .group = 7,
          .scale = 0.125f,
          .rows_aligned = true,
          .equal_strides = true,
          .query_elements = 1 << 20,
          .num_slots = 1 << 12,
          .block_size = 16,
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

void on_hopper() {
  const AttentionProblem hopper = with(prefill(), [](auto& p) { p.compute_capability = 90; });
  for (const std::int64_t size : {8, 16, 32, 64, 128, 256, 384}) {
    CHECK(kernel_of(with(hopper, [&](auto& p) { p.block_size = size; })) == "prefill_hopper");
  }
  for (const std::int64_t size : {1, 2, 4, 7, 24, 48, 96, 127, 129, 192}) {
    CHECK(kernel_of(with(hopper, [&](auto& p) { p.block_size = size; })) == "prefill");
  }
  CHECK(kernel_of(with(hopper, [](auto& p) { p.head_dim = 128; })) == "prefill_hopper");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.group = 64; })) == "prefill_hopper");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.group = 65; })) == "prefill");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.num_slots = 15; })) == "prefill");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.compute_capability = 100; })) == "prefill");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.one_query_each = true; })) == "decode");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.deterministic = true; })) == "general");
  CHECK(kernel_of(with(hopper, [](auto& p) { p.rows_aligned = false; })) == "general");
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
  on_hopper();
  flashinfer_is_never_replaced();
}

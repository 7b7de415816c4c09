// Which forms of a block operator take a call, on devices that need not be here.

#include "check.h"
#include "ops/block_form.h"

namespace {

using stagegate::BlockProblem;
using stagegate::DeviceType;
using stagegate::DType;
using stagegate::FormTraits;
using stagegate::LinearBackend;

constexpr FormTraits kForm{
    .name = "narrow",
    .capability = 90,
    .dtypes = stagegate::k16BitTypes,
    .least_rows = 2,
    .most_rows = 16,
    .deterministic = false,
    .fits = [](const BlockProblem& problem) { return problem.depth % 64 == 0; }};

BlockProblem decode() {
  return {.device = DeviceType::kCUDA,
          .capability = 90,
          .multiprocessors = 132,
          .backend = LinearBackend::kAuto,
          .deterministic = false,
          .dtype = DType::kBF16,
          .rows = 8,
          .width = 1536,
          .depth = 8960,
          .head_dim = 0,
          .has_head_norms = false,
          .alignment = 16};
}

// Whether the form takes a problem that differs in one thing from one that it takes.
template <typename Change>
bool takes_with(Change change) {
  BlockProblem problem = decode();
  change(problem);
  return stagegate::takes(kForm, problem);
}

void a_form_takes_what_its_traits_say() {
  CHECK(stagegate::takes(kForm, decode()));
  CHECK(takes_with([](auto& p) { p.dtype = DType::kF16; }));
  CHECK(takes_with([](auto& p) { p.rows = 2; }));
  CHECK(takes_with([](auto& p) { p.rows = 16; }));
}

void a_form_takes_nothing_else() {
  CHECK(!takes_with([](auto& p) { p.device = DeviceType::kCPU; }));
  CHECK(!takes_with([](auto& p) { p.capability = 80; }));
  CHECK(!takes_with([](auto& p) { p.capability = 100; }));
  CHECK(!takes_with([](auto& p) { p.backend = LinearBackend::kComposed; }));
  CHECK(!takes_with([](auto& p) { p.deterministic = true; }));
  CHECK(!takes_with([](auto& p) { p.dtype = DType::kF32; }));
  CHECK(!takes_with([](auto& p) { p.rows = 1; }));
  CHECK(!takes_with([](auto& p) { p.rows = 17; }));
  CHECK(!takes_with([](auto& p) { p.depth = 8961; }));
}

}  // namespace

int main() {
  a_form_takes_what_its_traits_say();
  a_form_takes_nothing_else();
}

#include "ops/mlp_input/forms.h"

#include "ops/linear/kernels/narrow_form.h"
#include "ops/linear/kernels/wide_form.h"
#include "ops/mlp_input/kernels/tiled_plan.h"

namespace stagegate {

namespace {

using Run = decltype(BlockForm<MlpInputCall>::run);

constexpr Run kNarrow = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_input_narrow;
  return nullptr;
}();
constexpr Run kWide = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::mlp_input_wide;
  return nullptr;
}();
constexpr Run kTiled = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::gated_linear_tiled;
  return nullptr;
}();

bool fits(const BlockProblem& p) { return narrow::fits_normed(p); }

bool fits_wide(const BlockProblem& p) { return wide::fits_gated(p); }

constexpr BlockForm<MlpInputCall> kForms[] = {
    {.traits = narrow::traits(&fits), .run = kNarrow},
    {.traits = wide::traits(&fits_wide), .run = kWide},
};

// Not for deterministic contexts: the composition sums in another order, and it has the rows that
// are too few.
constexpr FormTraits gated_linear(const char* name, std::int64_t most_rows) {
  return {.name = name,
          .capability = 90,
          .dtypes = k16BitTypes,
          .least_rows = tiled::kLeastRows,
          .most_rows = most_rows,
          .deterministic = false,
          .fits = &tiled::fits_gated};
}

// Where tiles have few rows, timing decides whether the composition is faster.
constexpr BlockForm<MlpInputCall> kGatedLinearForms[] = {
    {.traits = gated_linear("tiled", tiled::kMostRows), .run = kTiled},
    {.traits = gated_linear("composed", tiled::kMostContestedRows), .run = &compose_gated_linear},
};

}  // namespace

std::span<const BlockForm<MlpInputCall>> mlp_input_forms() { return kForms; }

std::span<const BlockForm<MlpInputCall>> gated_linear_forms() { return kGatedLinearForms; }

BlockProblem describe(const Context& context, const MlpInputCall& call) {
  return describe_block(
      context, call.residual, call.gate_up.data,
      block_alignment({&call.residual, &call.norm, &call.gate_up.data, &call.gate_up.bias,
                       &call.normed, &call.projected, &call.activated}));
}

}  // namespace stagegate

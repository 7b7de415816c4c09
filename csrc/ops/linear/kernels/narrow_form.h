#pragma once

#include "ops/block_form.h"
#include "ops/linear/kernels/narrow_plan.h"

// What the kernels for few rows take.
namespace stagegate::narrow {

// Its sums are cut by the number of multiprocessors, and more rows than it takes are summed in
// another order.
constexpr FormTraits traits(bool (*fits)(const BlockProblem& problem)) {
  return {.name = "narrow",
          .capability = 90,
          .dtypes = k16BitTypes,
          .least_rows = 1,
          .most_rows = kMostRows,
          .deterministic = false,
          .fits = fits};
}

// Rows of weight and activations begin at multiples of 16 bytes, as the copy engine wants them.
inline bool aligned(const BlockProblem& problem) {
  return problem.alignment == kBlockAlignment && problem.depth > 0 && problem.depth % 8 == 0 &&
         problem.width > 0;
}
inline bool fits_normed(const BlockProblem& problem) {
  return aligned(problem) && plan_normed(problem.rows, problem.depth, kTileRows).ring > 0;
}
inline bool fits_added(const BlockProblem& problem) {
  return aligned(problem) &&
         plan_added(problem.rows, problem.width, problem.multiprocessors).ring > 0;
}

}  // namespace stagegate::narrow

#pragma once

#include "ops/block_form.h"
#include "ops/linear/kernels/wide_plan.h"

// What the kernels for a batch of some rows take.
namespace stagegate::wide {

// The sums of a row depend on how the depth is cut up, and other forms sum in another order.
constexpr FormTraits traits(bool (*fits)(const BlockProblem& problem)) {
  return {.name = "wide",
          .capability = 90,
          .dtypes = k16BitTypes,
          .least_rows = kLeastRows,
          .most_rows = kMostRows,
          .deterministic = false,
          .fits = fits};
}

// Rows of weight and activations begin at multiples of 16 bytes, as the copy engine wants them, and
// 8 rows of the weight stay together.
inline bool aligned(const BlockProblem& problem) {
  return problem.alignment == kBlockAlignment && problem.depth > 0 && problem.depth % 8 == 0 &&
         problem.width > 0 && problem.width % 8 == 0;
}

inline bool fits_added(const BlockProblem& problem) {
  constexpr int kLeastSplits = 4;  // with fewer cuBLASLt and an addition are faster
  return aligned(problem) &&
         room_of(problem.width, kAddedGroups, problem.multiprocessors) >= kLeastSplits;
}
inline bool fits_heads(const BlockProblem& problem) {
  return aligned(problem) && problem.depth <= kMostNormedDepth &&
         (problem.head_dim == 64 || problem.head_dim == 128) &&
         room_of(problem.width, kHeadsGroups, problem.multiprocessors) == kMostSplits;
}
inline bool fits_gated(const BlockProblem& problem) {
  return aligned(problem) && problem.depth <= kMostNormedDepth && problem.width % 16 == 0 &&
         gated_groups_of(problem.width, problem.multiprocessors) > 0;
}

}  // namespace stagegate::wide

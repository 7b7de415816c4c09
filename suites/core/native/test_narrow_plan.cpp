// How products of few rows are cut up, on devices that need not be here.

#include "ops/linear/kernels/narrow_plan.h"

#include <initializer_list>

#include "check.h"

namespace {

using namespace stagegate::narrow;

constexpr int kMultiprocessors = 132;

int up(std::int64_t a, std::int64_t b) { return static_cast<int>((a + b - 1) / b); }

// The rows of a product that is added, over the blocks of threads of one wave.
void added_rows_are_shared_equally() {
  for (const std::int64_t width : {8, 77, 896, 1536, 3584, 5120, 13824}) {
    const AddedPlan plan = plan_added(8, width, kMultiprocessors);
    CHECK(plan.tile_rows > 0 && plan.tile_rows <= kTileRows);
    const int blocks = up(up(width, plan.tile_rows), plan.tiles);
    CHECK(blocks <= kMultiprocessors);
    CHECK(std::int64_t{blocks} * plan.tiles * plan.tile_rows >= width);
    // No block has a row more than an equal share, but for what its tiles round up.
    CHECK(plan.tiles * plan.tile_rows < up(width, kMultiprocessors) + plan.tiles);
  }
}

// A slot holds a box and every row of activations that meets it.
void a_ring_and_its_sums_fit() {
  for (std::int64_t rows = 1; rows <= kMostRows; ++rows) {
    const AddedPlan added = plan_added(rows, 3584, kMultiprocessors);
    CHECK(added.ring > 0 && added.shared_bytes <= kMostShared);
    CHECK(added.slot_bytes == (added.tile_rows + rows) * kBoxRowBytes);
    CHECK(added.shared_bytes >= kWarps * added.ring * added.slot_bytes + added.sums_bytes);
    const NormedPlan normed = plan_normed(rows, 3584, kTileRows);
    CHECK(normed.ring > 0 && normed.shared_bytes <= kMostShared);
    CHECK(normed.sums_bytes >= 3584 * 2);  // the norm lies there first
    CHECK(normed.shared_bytes >=
          kWarps * normed.ring * normed.slot_bytes + rows * normed.stride + normed.sums_bytes);
  }
  CHECK(plan_normed(kMostRows, 8192, kTileRows).ring == 0);
}

// Seven rows of each half leave the blocks of 1.5B's MLP the smallest share, eight those of its
// attention.
void halves_are_cut_for_equal_shares() {
  CHECK(half_rows(1, 8960, kMultiprocessors) == 7);
  CHECK(half_rows(16, 64, kMultiprocessors) == 8);
  CHECK(half_rows(36, 64, kMultiprocessors) == 6);
}

}  // namespace

int main() {
  added_rows_are_shared_equally();
  a_ring_and_its_sums_fit();
  halves_are_cut_for_equal_shares();
}

#include "ops/linear/kernels/narrow_plan.h"

#include <algorithm>

namespace stagegate::narrow {

namespace {

// Shared memory for a ring of each warp.
constexpr int ring_bytes(int ring, int slot_bytes) { return kWarps * ring * slot_bytes; }

// The longest ring that fits a block with `others` bytes besides; 0 if none fits.
int ring_beside(int others, int slot_bytes) {
  for (const int ring : kRings) {
    if (others + ring_bytes(ring, slot_bytes) <= kMostShared) return ring;
  }
  return 0;
}

int up(std::int64_t a, std::int64_t b) { return static_cast<int>((a + b - 1) / b); }

}  // namespace

NormedPlan plan_normed(std::int64_t rows, std::int64_t depth, int box_rows) {
  const int boxes = boxes_of(depth);
  const auto count = static_cast<int>(rows);
  NormedPlan plan{.ring = 0,
                  .slot_bytes = box_rows * kBoxRowBytes,
                  .stride = row_bytes(boxes),
                  .sums_bytes = std::max(2 * sums_bytes(rows), boxes * kBoxRowBytes),
                  .shared_bytes = 0};
  // Barriers, one of them that of the norm, and squares of rows.
  const int others =
      count * plan.stride + plan.sums_bytes + (1 + kSumsBarriers) * 8 + count * kWarps * 4;
  plan.ring = ring_beside(others, plan.slot_bytes);
  plan.shared_bytes = others + ring_bytes(plan.ring, plan.slot_bytes);
  return plan;
}

int half_rows(std::int64_t groups, std::int64_t half, int multiprocessors) {
  const auto share = [&](std::int64_t rows) {
    return up(groups * up(half, rows), multiprocessors) * rows;
  };
  int best = kTileRows / 2;
  for (int rows = best - 1; rows >= 5; --rows) {
    if (share(rows) < share(best)) best = rows;
  }
  return best;
}

AddedPlan plan_added(std::int64_t rows, std::int64_t width, int multiprocessors) {
  const int share = up(width, multiprocessors);  // rows of the weight that a block has
  const int tiles = up(share, kTileRows);
  AddedPlan plan{.ring = 0,
                 .slot_bytes = 0,
                 .tiles = tiles,
                 .tile_rows = up(share, tiles),
                 .sums_bytes = 2 * sums_bytes(rows),
                 .shared_bytes = 0};
  plan.slot_bytes = (plan.tile_rows + static_cast<int>(rows)) * kBoxRowBytes;
  const int others = plan.sums_bytes + kSumsBarriers * 8;
  plan.ring = ring_beside(others, plan.slot_bytes);
  plan.shared_bytes = others + ring_bytes(plan.ring, plan.slot_bytes);
  return plan;
}

}  // namespace stagegate::narrow

#include "ops/linear/kernels/narrow_plan.h"

#include <algorithm>

namespace stagegate::narrow {

namespace {

constexpr int kAlignment = 1024;  // of a box, and what aligning the first one may cost
// Rows of activations that a block holds in a product that is added, where a cluster can be large
// enough: they leave room for rings.
constexpr int kMostStaged = 40 * 1024;

constexpr int ring_bytes(int ring) { return kWarps * ring * kBoxBytes; }

// The ring beside so many other bytes; 0 where none fits. Blocks of two kernels that follow each
// other share a multiprocessor where each takes half of it: the second fills its rings while the
// first runs, which is worth more than a deep ring.
int ring_beside(int others) {
  struct Choice {
    int ring;
    int limit;  // of a block
  };
  constexpr int kHalf = 112 * 1024;
  constexpr int kNearlyHalf = 124 * 1024;
  constexpr Choice kChoices[] = {{6, kHalf},       {4, kHalf},       {3, kNearlyHalf},
                                 {6, kMostShared}, {4, kMostShared}, {3, kMostShared}};
  for (const Choice& choice : kChoices) {
    if (others + ring_bytes(choice.ring) <= choice.limit) return choice.ring;
  }
  return 0;
}

}  // namespace

NormedPlan plan_normed(std::int64_t rows, std::int64_t depth) {
  const int boxes = boxes_of(depth);
  const auto count = static_cast<int>(rows);
  // The rows, the norm, sums twice over, squares of rows, and the barrier of the norm.
  const int others = kAlignment + count * row_bytes(boxes) + boxes * kBoxColumns * 2 +
                     2 * sums_bytes(rows) + count * kWarps * 4 + 8;
  const int ring = ring_beside(others);
  return {.ring = ring, .stride = row_bytes(boxes), .shared_bytes = others + ring_bytes(ring)};
}

int half_rows(std::int64_t groups, std::int64_t half, int multiprocessors) {
  const auto share = [&](std::int64_t rows) {
    const std::int64_t tiles = groups * ((half + rows - 1) / rows);
    return (tiles + multiprocessors - 1) / multiprocessors * rows;
  };
  int best = kTileRows / 2;
  for (int rows = best - 1; rows >= 5; --rows) {
    if (share(rows) < share(best)) best = rows;
  }
  return best;
}

AddedPlan plan_added(std::int64_t rows, std::int64_t width, std::int64_t depth,
                     int multiprocessors) {
  const auto up = [](int a, int b) { return (a + b - 1) / b; };
  const int boxes = boxes_of(depth);
  // As few blocks cut the depth as hold their part of the rows beside a ring and another kernel.
  int cluster = 1;
  while (cluster < kMostCluster && 2 * cluster <= boxes &&
         rows * row_bytes(up(boxes, cluster)) > kMostStaged) {
    cluster *= 2;
  }
  const int most_clusters = std::max(multiprocessors / cluster, 1);
  const int share = up(static_cast<int>(width), most_clusters);  // rows of the weight
  const int tiles = up(share, kTileRows);
  const int tile_rows = up(share, tiles);
  AddedPlan plan{.ring = 0,
                 .cluster = cluster,
                 .clusters = up(up(static_cast<int>(width), tile_rows), tiles),
                 .tile_rows = tile_rows,
                 .most_tiles = tiles,
                 .most_boxes = up(boxes, cluster),
                 .stride = 0,
                 .shared_bytes = 0};
  plan.stride = row_bytes(plan.most_boxes);
  const int columns = columns_of(rows);
  const int fragments = plan.most_tiles * (columns / 8);
  const int received = (fragments + cluster - 1) / cluster * cluster * kTileRows * 8 * 4;
  const int others =
      kAlignment + static_cast<int>(rows) * plan.stride + 2 * sums_bytes(rows) + received;
  plan.ring = ring_beside(others);
  plan.shared_bytes = others + ring_bytes(plan.ring);
  return plan;
}

}  // namespace stagegate::narrow

#include "ops/linear/kernels/narrow_plan.h"

#include <algorithm>

namespace stagegate::narrow {

namespace {

// Two blocks of kernels that follow each other share a multiprocessor where each takes at most
// this: the second fills its rings while the first runs.
constexpr int kHalfShared = 112 * 1024;
constexpr int kDeepest = 6;  // more boxes on the way bring nothing
constexpr int kShallowest = 3;
constexpr int kAlignment = 1024;  // of a box, and what aligning the first one may cost
constexpr int kBarrierBytes = 8;

constexpr int ring_bytes(int ring) { return kWarps * ring * (kBoxBytes + kBarrierBytes); }

// The deepest ring beside so many other bytes; 0 where none fits.
int deepest_ring(int others) {
  for (const int limit : {kHalfShared, kMostShared}) {
    for (int ring = kDeepest; ring >= kShallowest; --ring) {
      if (others + ring_bytes(ring) <= limit) return ring;
    }
  }
  return 0;
}

}  // namespace

NormedPlan plan_normed(std::int64_t rows, std::int64_t depth) {
  const int boxes = boxes_of(depth);
  const auto count = static_cast<int>(rows);
  // The rows, the norm, sums twice over, squares and inverses of rows, and the barrier of the norm.
  const int others = kAlignment + count * row_bytes(boxes) + boxes * kBoxColumns * 2 +
                     2 * sums_bytes(rows) + count * (kWarps + 1) * 4 + kBarrierBytes;
  const int ring = deepest_ring(others);
  return {.ring = ring, .stride = row_bytes(boxes), .shared_bytes = others + ring_bytes(ring)};
}

AddedPlan plan_added(std::int64_t rows, std::int64_t width, std::int64_t depth,
                     int multiprocessors) {
  const int boxes = boxes_of(depth);
  const auto tiles = static_cast<int>((width + kTileRows - 1) / kTileRows);
  int cluster = kMostCluster;
  while (cluster > std::max(boxes, 1)) cluster /= 2;
  const int clusters = std::clamp(multiprocessors / cluster, 1, std::max(tiles, 1));
  AddedPlan plan{.ring = 0,
                 .cluster = cluster,
                 .clusters = clusters,
                 .most_tiles = (tiles + clusters - 1) / clusters,
                 .most_boxes = (boxes + cluster - 1) / cluster,
                 .most_segments = 0,
                 .stride = 0,
                 .shared_bytes = 0};
  const int most_items = (plan.most_tiles * plan.most_boxes + kWarps - 1) / kWarps;
  const int least_boxes = std::max(boxes / cluster, 1);
  plan.most_segments = (most_items + least_boxes - 1) / least_boxes + 1;
  plan.stride = row_bytes(plan.most_boxes);
  const int columns = columns_of(rows);
  const int fragments = plan.most_tiles * (columns / 8);
  const int received = (fragments + cluster - 1) / cluster * cluster * kTileRows * 8 * 4;
  const int others = kAlignment + static_cast<int>(rows) * plan.stride +
                     plan.most_segments * sums_bytes(rows) + received;
  plan.ring = deepest_ring(others);
  plan.shared_bytes = others + ring_bytes(plan.ring);
  return plan;
}

}  // namespace stagegate::narrow

#include "runner/graph_runner.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "device/cuda/graph.h"
#include "device/cuda/runtime.h"

namespace stagegate {

GraphRunner::GraphRunner(const Context& context, std::int64_t max_batch)
    : context_(context), max_batch_(max_batch) {}

std::vector<std::int64_t> GraphRunner::batch_sizes(std::int64_t max_batch) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t power = 1; power < max_batch; power *= 2) {
    const std::int64_t parts = power < 16 ? 1 : power < 64 ? 2 : 4;
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t size = power + power / parts * part;
      if (size < max_batch) sizes.push_back(size);
    }
  }
  sizes.push_back(max_batch);
  return sizes;
}

void GraphRunner::capture(const Queue& queue, const Progress& progress) {
  if constexpr (cuda::kEnabled) {
    if (!context_.device.is_cuda()) return;
    graphs_.clear();
    const std::vector<std::int64_t> sizes = batch_sizes(max_batch_);
    const auto captured = [&](Part part, std::int64_t batch) -> std::function<void()> {
      const auto graph =
          std::make_shared<cuda::Graph>(context_.stream, [&] { queue(part, batch); });
      return [graph] { graph->launch(); };
    };
    // First all of them once: what they need of the scratch memory is taken then, and it stays the
    // same for all graphs.
    for (const std::int64_t batch : sizes) queue(Part::kStep, batch);
    synchronize(context_);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      try {
        graphs_[sizes[i]] = {captured(Part::kLayers, sizes[i]), captured(Part::kStep, sizes[i])};
      } catch (const OutOfMemoryError&) {
        // Batches of this size are padded to a larger graph, or queued kernel by kernel.
      }
      if (progress) progress(static_cast<std::int64_t>(i) + 1, std::ssize(sizes));
    }
  }
}

std::int64_t GraphRunner::padded(std::int64_t batch) const {
  const auto next = graphs_.lower_bound(batch);
  return next == graphs_.end() ? batch : next->first;
}

void GraphRunner::run(Part part, std::int64_t batch, const Queue& queue) const {
  const auto found = graphs_.find(batch);
  if (found == graphs_.end()) return queue(part, batch);
  part == Part::kLayers ? found->second.first() : found->second.second();
}

}  // namespace stagegate

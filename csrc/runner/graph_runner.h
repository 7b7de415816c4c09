#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "device/context.h"

namespace stagegate {

// Queues a decode: on a GPU as one graph a batch size, captured beforehand, else kernel by kernel.
class GraphRunner {
 public:
  // How much of a decode is one graph. Both begin with gathering the rows and end with the logits;
  // kStep also samples and takes the tokens into the rows.
  enum class Part { kLayers, kStep };
  // Queues a part for a batch of some size, the same kernels at every call.
  using Queue = std::function<void(Part part, std::int64_t batch)>;
  // How many batch sizes are done, of how many.
  using Progress = std::function<void(std::int64_t done, std::int64_t of)>;

  // max_batch: sequences of a decode.
  GraphRunner(const Context& context, std::int64_t max_batch);

  // Captures both parts for some batch sizes up to max_batch; nothing on the CPU. Whatever queue
  // reads has to be in place, with batches of padded rows. A size there is no memory for is done
  // without its graphs.
  void capture(const Queue& queue, const Progress& progress);

  // The size a batch is run with: padded to the next that has a graph.
  std::int64_t padded(std::int64_t batch) const;
  // Queues a part for a batch of a size that padded() gave.
  void run(Part part, std::int64_t batch, const Queue& queue) const;

  // Up to max_batch: the powers of two, with one size between from 16 on and three from 64 on.
  static std::vector<std::int64_t> batch_sizes(std::int64_t max_batch);

 private:
  Context context_;
  std::int64_t max_batch_;
  // What launches the two graphs of a batch size, layers and step.
  std::map<std::int64_t, std::pair<std::function<void()>, std::function<void()>>> graphs_;
};

}  // namespace stagegate

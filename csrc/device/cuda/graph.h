#pragma once

#include <functional>
#include <memory>

#include "core/storage.h"
#include "device/ledger.h"

struct CUgraphExec_st;  // what a cudaGraphExec_t points to

namespace stagegate::cuda {

class Stream;

// Work that was queued on a stream once and is queued again as a whole: one launch instead of one a
// kernel, whose few microseconds each would else be most of a small step.
class Graph {
 public:
  // Captures what `queue` queues: kernels on this stream and nothing else, which must have run
  // once, so that algorithms and memory are found. Addresses and sizes stay what they are now.
  // Throws what `queue` throws, OutOfMemoryError when there is no memory for a graph.
  Graph(std::shared_ptr<Stream> stream, const std::function<void()>& queue);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Queues all of it. The ledger of the thread sees no difference.
  void launch() const;

 private:
  std::shared_ptr<Stream> stream_;
  // The stream may take more later, and the kernels of the graph go on using this.
  std::shared_ptr<Storage> scratch_;
  CUgraphExec_st* graph_ = nullptr;
  Ledger dispatched_;
};

}  // namespace stagegate::cuda

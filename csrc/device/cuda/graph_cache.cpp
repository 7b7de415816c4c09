#include "device/cuda/graph_cache.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "device/range.h"

namespace stagegate::cuda {

namespace {

// A graph of a step takes some hundred kilobytes of host and device memory.
constexpr std::size_t kMostGraphs = 256;

// Records into a ledger of its own for the time of a block.
class LedgerScope {
 public:
  explicit LedgerScope(Ledger* ledger) : outer_(exchange_ledger(ledger)) {}
  ~LedgerScope() { exchange_ledger(outer_); }
  LedgerScope(const LedgerScope&) = delete;
  LedgerScope& operator=(const LedgerScope&) = delete;

 private:
  Ledger* outer_;
};

}  // namespace

GraphCache::GraphCache(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {
  const CurrentDevice current(stream_->device_index());
  SG_CUDA(cudaStreamCreateWithFlags(&capture_stream_, cudaStreamNonBlocking));
}

GraphCache::~GraphCache() {
  for (auto& [key, entry] : entries_) {
    if (entry.graph != nullptr) static_cast<void>(cudaGraphExecDestroy(entry.graph));
  }
  static_cast<void>(cudaStreamDestroy(capture_stream_));
}

void GraphCache::run(Key key, const std::function<void()>& queue) {
  const CurrentDevice current(stream_->device_index());
  const auto found = entries_.find(with_scratch(key));
  if (found == entries_.end()) {
    queue();
    // Not before: it may have thrown, or taken more scratch memory.
    entries_[with_scratch(std::move(key))].last_used = ++runs_;
    make_room();
    return;
  }
  Entry& entry = found->second;
  entry.last_used = ++runs_;
  if (entry.graph == nullptr) {
    try {
      capture(entry, queue);
    } catch (const OutOfMemoryError&) {
      return queue();
    }
  }
  record_dispatches(entry.dispatched);
  const Range range("graph");
  SG_CUDA(cudaGraphLaunch(entry.graph, stream_->handle()));
}

// A graph keeps the address of the scratch memory it was captured with, and needs its size.
GraphCache::Key GraphCache::with_scratch(Key key) const {
  key.push_back(reinterpret_cast<std::intptr_t>(stream_->scratch(0)));
  key.push_back(static_cast<std::int64_t>(stream_->scratch_bytes()));
  return key;
}

void GraphCache::capture(Entry& entry, const std::function<void()>& queue) {
  // On a stream that no other waits for. While one is captured that waits for the legacy stream,
  // that is unusable for the whole process, and every copy and allocation of another engine fails.
  const Stream::Redirection redirection(*stream_, capture_stream_);
  Ledger dispatched;
  cudaGraph_t graph = nullptr;
  SG_CUDA(cudaStreamBeginCapture(stream_->handle(), cudaStreamCaptureModeThreadLocal));
  try {
    const LedgerScope scope(&dispatched);
    queue();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(stream_->handle(), &graph));
    if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
    throw;
  }
  SG_CUDA(cudaStreamEndCapture(stream_->handle(), &graph));
  const cudaError_t status = cudaGraphInstantiate(&entry.graph, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  SG_CUDA(status);
  entry.dispatched = std::move(dispatched);
}

void GraphCache::make_room() {
  if (entries_.size() <= kMostGraphs) return;
  const auto oldest = std::min_element(
      entries_.begin(), entries_.end(),
      [](const auto& a, const auto& b) { return a.second.last_used < b.second.last_used; });
  // One that is running is freed when it is done.
  if (oldest->second.graph != nullptr) SG_CUDA(cudaGraphExecDestroy(oldest->second.graph));
  entries_.erase(oldest);
}

}  // namespace stagegate::cuda

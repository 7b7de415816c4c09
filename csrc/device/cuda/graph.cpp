#include "device/cuda/graph.h"

#include <cuda_runtime_api.h>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/handles.h"
#include "device/cuda/owned.h"
#include "device/cuda/stream.h"
#include "device/range.h"

namespace stagegate::cuda {

namespace {

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

// What a capture yields, until it is instantiated.
using CapturedGraph = Owned<cudaGraph_t, cudaGraphDestroy>;

}  // namespace

Graph::Graph(std::shared_ptr<Stream> stream, const std::function<void()>& queue)
    : stream_(std::move(stream)), scratch_(stream_->scratch_storage()) {
  const CurrentDevice current(stream_->device_index());
  // A stream that no other waits for. While one is captured that waits for the legacy stream, that
  // is unusable for the whole process, and every copy and allocation of another engine fails.
  const StreamHandle aside = create_stream(cudaStreamNonBlocking);
  const Stream::Redirection redirection(*stream_, aside);
  CapturedGraph captured;
  SG_CUDA(cudaStreamBeginCapture(stream_->handle(), cudaStreamCaptureModeThreadLocal));
  try {
    const LedgerScope scope(&dispatched_);
    queue();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(stream_->handle(), captured.out()));
    throw;
  }
  SG_CUDA(cudaStreamEndCapture(stream_->handle(), captured.out()));
  SG_CUDA(cudaGraphInstantiate(&graph_, captured, 0));
}

Graph::~Graph() {
  // One that is running is freed when it is done.
  if (graph_ != nullptr) static_cast<void>(cudaGraphExecDestroy(graph_));
}

void Graph::launch() const {
  const CurrentDevice current(stream_->device_index());
  record_dispatches(dispatched_);
  const Range range("graph");
  SG_CUDA(cudaGraphLaunch(graph_, stream_->handle()));
}

}  // namespace stagegate::cuda

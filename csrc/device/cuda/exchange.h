#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace stagegate::cuda {

class Stream;

// The traffic of a step between host and device: one copy there for all operands, one back for all
// results, through pinned memory, in the order of the stream. Nothing waits but wait().
class Exchange {
 public:
  explicit Exchange(std::shared_ptr<Stream> stream);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Replaces contiguous tensors of the host by device tensors with their values, which stay valid
  // until the next upload is queued. Undefined tensors stay as they are.
  // what: the name the copy has in a ledger.
  void upload(std::string_view what, std::span<Tensor* const> tensors);

  using Shaped = std::pair<DType, Shape>;
  // Device tensors for results, uninitialised, valid until results are asked for again.
  std::vector<Tensor> results(std::span<const Shaped> wanted);

  // A copy of the results on its way to the host.
  class Download;
  // Queues one copy of the results of the last call of results(). At most two may be on their way.
  std::shared_ptr<Download> download(std::string_view what);
  // The results on the host, as tensors of their own. Throws ArgumentError for a fault that a
  // kernel reported, DeviceError when the device failed.
  std::vector<Tensor> wait(const Download& download);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace stagegate::cuda

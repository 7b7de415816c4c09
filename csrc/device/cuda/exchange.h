#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace stagegate::cuda {

class Stream;

// The traffic of a step between host and device: one copy there for all operands, one back for the
// results, through pinned memory, in the order of the stream. Nothing waits but wait().
class Exchange {
 public:
  // Downloads that may be on their way, and uploads that are staged without waiting for the device.
  static constexpr std::size_t kInFlight = 4;

  explicit Exchange(std::shared_ptr<Stream> stream);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Replaces contiguous tensors of the host by device tensors with their values, which stay valid
  // until the next upload is queued. Undefined tensors stay as they are; nothing is copied when
  // there is nothing to copy.
  // what: the name the copy has in a ledger.
  void upload(std::string_view what, std::span<Tensor* const> tensors);

  // Queues a copy between contiguous tensors of the device that are alike.
  void copy(const Tensor& source, const Tensor& destination);

  using Shaped = std::pair<DType, Shape>;
  // Device tensors for results, one behind the other, uninitialised, valid until results are asked
  // for again.
  std::vector<Tensor> results(std::span<const Shaped> wanted);

  // A copy of results on its way to the host.
  class Download;
  // Queues a copy of contiguous device tensors, and of what the kernels reported: one for those
  // that lie one behind the other. Throws ArgumentError when kInFlight downloads were not waited
  // for.
  std::shared_ptr<Download> download(std::string_view what, std::span<const Tensor> tensors);
  // The results on the host, as tensors of their own. Throws ArgumentError for a fault that a
  // kernel reported, DeviceError when the device failed.
  std::vector<Tensor> wait(Download& download);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace stagegate::cuda

#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// The way of a step's operands to the device of its model, and of its results to the host.
class StepTransport {
 public:
  virtual ~StepTransport() = default;

  // Replaces contiguous tensors of the host by ones on the device that have their values when what
  // is queued next runs, and stay valid until the next upload. Undefined tensors stay as they are.
  // what: the name the copy has in a ledger.
  virtual void upload(std::string_view what, std::span<Tensor* const> tensors) = 0;

  // Queues a copy between contiguous tensors of the device that are alike.
  virtual void copy(const Tensor& source, const Tensor& destination) = 0;

  using Shaped = std::pair<DType, Shape>;
  // Tensors on the device for results, uninitialised, valid until results are asked for again.
  virtual std::vector<Tensor> results(std::span<const Shaped> wanted) = 0;

  using Finish = std::function<std::vector<Tensor>()>;
  // Queues what brings contiguous tensors of the device to the host. The function returned waits
  // for them and gives copies, once; it throws ArgumentError for a fault that a kernel reported,
  // DeviceError when the device failed.
  virtual Finish download(std::string_view what, std::span<const Tensor> tensors) = 0;
};

// The form for the device of the context: on the CPU nothing has to move; to and from a GPU there
// is one copy each way and step, through pinned memory.
std::unique_ptr<StepTransport> make_step_transport(const Context& context);

}  // namespace stagegate

#include "runner/step_transport.h"

#include "device/copy.h"
#include "device/cuda/exchange.h"
#include "device/cuda/runtime.h"
#include "device/memory.h"

namespace stagegate {

namespace {

// Operands are where they are wanted; results are copied, for the next step writes over them.
class HostTransport : public StepTransport {
 public:
  void upload(std::string_view, std::span<Tensor* const>) override {}

  void copy(const Tensor& source, const Tensor& destination) override {
    stagegate::copy(source, destination);
  }

  std::vector<Tensor> results(std::span<const Shaped> wanted) override {
    std::vector<Tensor> tensors;
    for (const auto& [dtype, shape] : wanted) tensors.push_back(empty(shape, dtype, Device{}));
    return tensors;
  }

  Finish download(std::string_view, std::span<const Tensor> tensors) override {
    std::vector<Tensor> copies;
    for (const Tensor& tensor : tensors) {
      copies.push_back(empty(tensor.shape(), tensor.dtype(), Device{}));
      stagegate::copy(tensor, copies.back());
    }
    return [copies = std::move(copies)] { return copies; };
  }
};

class CudaTransport : public StepTransport {
 public:
  explicit CudaTransport(const Context& context)
      : exchange_(std::make_shared<cuda::Exchange>(context.stream)) {}

  void upload(std::string_view what, std::span<Tensor* const> tensors) override {
    exchange_->upload(what, tensors);
  }
  void copy(const Tensor& source, const Tensor& destination) override {
    exchange_->copy(source, destination);
  }
  std::vector<Tensor> results(std::span<const Shaped> wanted) override {
    return exchange_->results(wanted);
  }
  Finish download(std::string_view what, std::span<const Tensor> tensors) override {
    return [exchange = exchange_, on_its_way = exchange_->download(what, tensors)] {
      return exchange->wait(*on_its_way);
    };
  }

 private:
  std::shared_ptr<cuda::Exchange> exchange_;
};

}  // namespace

std::unique_ptr<StepTransport> make_step_transport(const Context& context) {
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda()) return std::make_unique<CudaTransport>(context);
  }
  return std::make_unique<HostTransport>();
}

}  // namespace stagegate

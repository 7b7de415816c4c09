#include "device/cuda/exchange.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/runtime.h"
#include "device/cuda/spare.h"
#include "device/cuda/stream.h"
#include "device/fault.h"
#include "device/ledger.h"
#include "device/memory.h"

namespace stagegate::cuda {

namespace {

// What the widest load of a kernel wants.
constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t size_bytes) {
  return (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What to take when so much is needed: more, so that growing steps soon stop asking, but not much
// more than a long prompt's lists of columns need.
std::size_t with_spare(std::size_t size_bytes) {
  constexpr std::size_t kMostSpare = std::size_t{32} << 20;
  return size_bytes + std::min(size_bytes, kMostSpare);
}

// Pinned memory that grows, and the event that says when the device has done with it.
class Pinned {
 public:
  Pinned() { SG_CUDA(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming)); }
  ~Pinned() {
    static_cast<void>(cudaEventSynchronize(done_));
    static_cast<void>(cudaEventDestroy(done_));
    if (data_ != nullptr) release_pinned(data_);
  }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  // Waits for the device and makes room.
  std::byte* claim(std::size_t size_bytes) {
    wait();
    if (size_bytes > size_bytes_) {
      if (data_ != nullptr) release_pinned(std::exchange(data_, nullptr));
      size_bytes_ = 0;  // until there is some: the allocation may throw
      size_bytes_ = allocate_with_spare(size_bytes, with_spare(size_bytes), [this](auto bytes) {
        data_ = static_cast<std::byte*>(allocate_pinned(bytes));
      });
    }
    return data_;
  }
  std::byte* data() const { return data_; }
  void in_use_until_here(cudaStream_t stream) { SG_CUDA(cudaEventRecord(done_, stream)); }
  void wait() const { SG_CUDA(cudaEventSynchronize(done_)); }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  cudaEvent_t done_ = nullptr;
};

// Two of them in turn: one is filled while the device reads the other.
class PinnedPair {
 public:
  Pinned& next() { return pair_[turn_ ^= 1]; }

 private:
  std::array<Pinned, 2> pair_;
  std::size_t turn_ = 0;
};

}  // namespace

class Exchange::Download {
 public:
  const Pinned* memory;
  std::vector<Shaped> shapes;
  std::size_t size_bytes;  // of the results; what the kernels reported lies behind them
};

class Exchange::State {
 public:
  explicit State(std::shared_ptr<Stream> queue) : stream(std::move(queue)) {}

  Device device() const { return {DeviceType::kCUDA, stream->device_index()}; }

  // Device memory for at least so much; what is replaced stays valid for work that is queued.
  void reserve(std::shared_ptr<Storage>& storage, std::size_t size_bytes) const {
    if (storage == nullptr || storage->size_bytes() < size_bytes) {
      allocate_with_spare(size_bytes, with_spare(size_bytes),
                          [&](auto bytes) { storage = allocate(bytes, device()); });
      // One copy takes all tensors, and with them the gaps that nobody writes.
      SG_CUDA(cudaMemsetAsync(storage->data(), 0, storage->size_bytes(), stream->handle()));
    }
  }

  std::shared_ptr<Stream> stream;
  PinnedPair uploads;
  PinnedPair downloads;
  std::shared_ptr<Storage> operands;
  std::shared_ptr<Storage> results;
  std::vector<Shaped> result_shapes;
  std::size_t result_bytes = 0;
};

Exchange::Exchange(std::shared_ptr<Stream> stream) {
  const CurrentDevice current(stream->device_index());  // events belong to one
  state_ = std::make_unique<State>(std::move(stream));
}

Exchange::~Exchange() = default;

void Exchange::upload(std::string_view what, std::span<Tensor* const> tensors) {
  std::size_t total = 0;
  for (const Tensor* tensor : tensors) {
    if (tensor->defined()) total += aligned(tensor->size_bytes());
  }
  if (total == 0) total = kAlignment;
  Pinned& pinned = state_->uploads.next();
  std::byte* staged = pinned.claim(total);
  state_->reserve(state_->operands, total);
  std::size_t at = 0;
  for (Tensor* tensor : tensors) {
    if (!tensor->defined()) continue;
    SG_CHECK(DeviceError, tensor->device().is_cpu(), what, ": operands come from the host, got ",
             tensor->describe());
    SG_CHECK(ContiguityError, tensor->is_contiguous(), what, ": operands must be contiguous, got ",
             tensor->describe());
    const std::size_t size_bytes = tensor->size_bytes();
    std::memcpy(staged + at, tensor->raw_data(), size_bytes);
    *tensor = Tensor(state_->operands, tensor->dtype(), tensor->shape(),
                     contiguous_strides(tensor->shape()),
                     static_cast<std::int64_t>(at / size_of(tensor->dtype())));
    at += aligned(size_bytes);
  }
  record_copy(what, Device{}, state_->device(), at);
  const cudaStream_t stream = state_->stream->handle();
  SG_CUDA(cudaMemcpyAsync(state_->operands->data(), staged, at, cudaMemcpyHostToDevice, stream));
  pinned.in_use_until_here(stream);
}

std::vector<Tensor> Exchange::results(std::span<const Shaped> wanted) {
  state_->result_shapes.assign(wanted.begin(), wanted.end());
  std::vector<std::size_t> offsets;
  std::size_t total = 0;
  for (const auto& [dtype, shape] : wanted) {
    offsets.push_back(total / size_of(dtype));
    total += aligned(static_cast<std::size_t>(numel_of(shape)) * size_of(dtype));
  }
  state_->result_bytes = total;
  state_->reserve(state_->results, total == 0 ? kAlignment : total);
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [dtype, shape] = wanted[i];
    tensors.emplace_back(state_->results, dtype, shape, contiguous_strides(shape),
                         static_cast<std::int64_t>(offsets[i]));
  }
  return tensors;
}

std::shared_ptr<Exchange::Download> Exchange::download(std::string_view what) {
  static_assert(sizeof(Fault) <= kAlignment);
  Pinned& pinned = state_->downloads.next();
  std::byte* staged = pinned.claim(state_->result_bytes + kAlignment);
  const cudaStream_t stream = state_->stream->handle();
  if (state_->result_bytes > 0) {
    record_copy(what, state_->device(), Device{}, state_->result_bytes);
    SG_CUDA(cudaMemcpyAsync(staged, state_->results->data(), state_->result_bytes,
                            cudaMemcpyDeviceToHost, stream));
  }
  state_->stream->fetch_fault(reinterpret_cast<Fault*>(staged + state_->result_bytes));
  pinned.in_use_until_here(stream);
  return std::make_shared<Download>(Download{&pinned, state_->result_shapes, state_->result_bytes});
}

std::vector<Tensor> Exchange::wait(const Download& download) {
  download.memory->wait();
  Fault fault;
  std::memcpy(&fault, download.memory->data() + download.size_bytes, sizeof(fault));
  state_->stream->check(fault);
  std::vector<Tensor> tensors;
  std::size_t at = 0;
  for (const auto& [dtype, shape] : download.shapes) {
    Tensor tensor = empty(shape, dtype, Device{});
    std::memcpy(tensor.raw_data(), download.memory->data() + at, tensor.size_bytes());
    at += aligned(tensor.size_bytes());
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace stagegate::cuda

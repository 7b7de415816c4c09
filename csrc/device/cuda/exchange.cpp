#include "device/cuda/exchange.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
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

// Some of them in turn: one is filled while the device reads the others.
class PinnedRing {
 public:
  Pinned& next() { return ring_[turn_++ % ring_.size()]; }

 private:
  std::array<Pinned, Exchange::kInFlight> ring_;
  std::size_t turn_ = 0;
};

// A stretch of device memory that one copy takes.
struct Stretch {
  const std::byte* begin;
  const std::byte* end;
  std::size_t at;  // in the memory of the host
};

}  // namespace

class Exchange::Download {
 public:
  // A tensor and where its bytes are.
  struct Piece {
    Shaped shaped;
    std::size_t at;
  };
  const Pinned* memory;
  std::vector<Piece> pieces;
  std::size_t size_bytes;  // of the results; what the kernels reported lies behind them
  bool is_taken = false;
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
  PinnedRing uploads;
  PinnedRing downloads;
  std::deque<std::weak_ptr<Download>> on_their_way;  // the last kInFlight
  std::shared_ptr<Storage> operands;
  std::shared_ptr<Storage> results;
};

Exchange::Exchange(std::shared_ptr<Stream> stream) {
  const CurrentDevice current(stream->device_index());  // events belong to one
  state_ = std::make_unique<State>(std::move(stream));
}

Exchange::~Exchange() = default;

void Exchange::upload(std::string_view what, std::span<Tensor* const> tensors) {
  std::size_t total = 0;
  bool has_some = false;
  for (const Tensor* tensor : tensors) {
    if (!tensor->defined()) continue;
    has_some = true;
    total += aligned(tensor->size_bytes());
  }
  if (!has_some) return;
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
  if (at == 0) return;
  record_copy(what, Device{}, state_->device(), at);
  const cudaStream_t stream = state_->stream->handle();
  SG_CUDA(cudaMemcpyAsync(state_->operands->data(), staged, at, cudaMemcpyHostToDevice, stream));
  pinned.in_use_until_here(stream);
}

void Exchange::copy(const Tensor& source, const Tensor& destination) {
  SG_CUDA(cudaMemcpyAsync(destination.raw_data(), source.raw_data(), source.size_bytes(),
                          cudaMemcpyDeviceToDevice, state_->stream->handle()));
}

std::vector<Tensor> Exchange::results(std::span<const Shaped> wanted) {
  std::vector<std::size_t> offsets;
  std::size_t total = 0;
  for (const auto& [dtype, shape] : wanted) {
    offsets.push_back(total / size_of(dtype));
    total += aligned(static_cast<std::size_t>(numel_of(shape)) * size_of(dtype));
  }
  state_->reserve(state_->results, total == 0 ? kAlignment : total);
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [dtype, shape] = wanted[i];
    tensors.emplace_back(state_->results, dtype, shape, contiguous_strides(shape),
                         static_cast<std::int64_t>(offsets[i]));
  }
  return tensors;
}

std::shared_ptr<Exchange::Download> Exchange::download(std::string_view what,
                                                       std::span<const Tensor> tensors) {
  static_assert(sizeof(Fault) <= kAlignment);
  auto& on_their_way = state_->on_their_way;
  if (on_their_way.size() == kInFlight) {
    const auto oldest = on_their_way.front().lock();
    SG_CHECK(ArgumentError, oldest == nullptr || oldest->is_taken, what, ": ", kInFlight,
             " steps are in flight; wait for one of them first");
    on_their_way.pop_front();
  }
  std::vector<Stretch> stretches;
  std::vector<Download::Piece> pieces;
  std::size_t total = 0;
  for (const Tensor& tensor : tensors) {
    const auto* begin = static_cast<const std::byte*>(tensor.raw_data());
    const std::byte* end = begin + tensor.size_bytes();
    Stretch* last = stretches.empty() ? nullptr : &stretches.back();
    if (last == nullptr ||
        begin != last->begin + aligned(static_cast<std::size_t>(last->end - last->begin))) {
      total = aligned(total);
      last = &stretches.emplace_back(Stretch{begin, begin, total});
    }
    pieces.push_back({{tensor.dtype(), tensor.shape()},
                      last->at + static_cast<std::size_t>(begin - last->begin)});
    last->end = end;
    total = last->at + static_cast<std::size_t>(end - last->begin);
  }
  total = aligned(total);

  Pinned& pinned = state_->downloads.next();
  std::byte* staged = pinned.claim(total + kAlignment);
  const cudaStream_t stream = state_->stream->handle();
  for (const Stretch& stretch : stretches) {
    const auto size_bytes = static_cast<std::size_t>(stretch.end - stretch.begin);
    if (size_bytes == 0) continue;
    record_copy(what, state_->device(), Device{}, size_bytes);
    SG_CUDA(cudaMemcpyAsync(staged + stretch.at, stretch.begin, size_bytes, cudaMemcpyDeviceToHost,
                            stream));
  }
  state_->stream->fetch_fault(reinterpret_cast<Fault*>(staged + total));
  pinned.in_use_until_here(stream);
  auto download = std::make_shared<Download>(Download{&pinned, std::move(pieces), total});
  on_their_way.push_back(download);
  return download;
}

std::vector<Tensor> Exchange::wait(Download& download) {
  download.memory->wait();
  download.is_taken = true;
  Fault fault;
  std::memcpy(&fault, download.memory->data() + download.size_bytes, sizeof(fault));
  state_->stream->check(fault);
  std::vector<Tensor> tensors;
  for (const auto& [shaped, at] : download.pieces) {
    Tensor tensor = empty(shaped.second, shaped.first, Device{});
    std::memcpy(tensor.raw_data(), download.memory->data() + at, tensor.size_bytes());
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace stagegate::cuda

#include <algorithm>
#include <type_traits>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/kernel.cuh"
#include "device/cuda/runtime.h"

namespace stagegate::cuda {

namespace {

constexpr int kMaxRank = 8;
constexpr int kThreads = 256;

// Shape and both sets of strides, in elements; passed by value to the kernel.
struct Layout {
  int rank;
  std::int64_t shape[kMaxRank];
  std::int64_t from[kMaxRank];
  std::int64_t to[kMaxRank];
};

template <typename From, typename To>
__device__ To converted(From value) {
  if constexpr (std::is_same_v<From, To>) {
    return value;
  } else {
    return from_float<To>(to_float(value));
  }
}

template <typename From, typename To>
__global__ void copy_kernel(const From* source, To* destination, Layout layout,
                            std::int64_t count) {
  const auto step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (auto i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    std::int64_t rest = i;
    std::int64_t read = 0;
    std::int64_t write = 0;
    for (int d = layout.rank - 1; d >= 0; --d) {
      const std::int64_t at = rest % layout.shape[d];
      rest /= layout.shape[d];
      read += at * layout.from[d];
      write += at * layout.to[d];
    }
    destination[write] = converted<From, To>(source[read]);
  }
}

template <typename From, typename To>
void queue(const Tensor& source, const Tensor& destination) {
  const std::int64_t count = source.numel();
  SG_CHECK(ShapeError, source.rank() <= kMaxRank, "copy: ", source.describe(), " has more than ",
           kMaxRank, " dimensions");
  Layout layout{.rank = source.rank(), .shape = {}, .from = {}, .to = {}};
  for (int d = 0; d < source.rank(); ++d) {
    layout.shape[d] = source.dim(d);
    layout.from[d] = source.stride(d);
    layout.to[d] = destination.stride(d);
  }
  const std::int64_t blocks = std::min<std::int64_t>((count + kThreads - 1) / kThreads, 65535);
  copy_kernel<From, To><<<static_cast<unsigned>(blocks), kThreads>>>(
      static_cast<const From*>(source.raw_data()), static_cast<To*>(destination.raw_data()), layout,
      count);
  SG_CUDA(cudaGetLastError());
}

}  // namespace

void copy_strided(const Tensor& source, const Tensor& destination) {
  if (source.numel() == 0) return;
  const CurrentDevice current(source.device().index);
  if (source.dtype() == destination.dtype() && source.is_contiguous() &&
      destination.is_contiguous()) {
    SG_CUDA(cudaMemcpyAsync(destination.raw_data(), source.raw_data(), source.size_bytes(),
                            cudaMemcpyDeviceToDevice, nullptr));
    return;
  }
  if (source.dtype() != destination.dtype()) {
    return dispatch_device("copy", source.dtype(), [&](auto from) {
      dispatch_device("copy", destination.dtype(),
                      [&](auto to) { queue<decltype(from), decltype(to)>(source, destination); });
    });
  }
  // Equal dtypes move as plain bits.
  switch (size_of(source.dtype())) {
    case 1:
      return queue<std::uint8_t, std::uint8_t>(source, destination);
    case 2:
      return queue<std::uint16_t, std::uint16_t>(source, destination);
    case 4:
      return queue<std::uint32_t, std::uint32_t>(source, destination);
    default:
      return queue<std::uint64_t, std::uint64_t>(source, destination);
  }
}

}  // namespace stagegate::cuda

#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "device/context.h"
#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"

namespace stagegate::cuda {

// How a kernel follows the one queued before it.
enum class Order {
  kAfter,    // starts when that one has ended
  kChained,  // may start before; see launch_chained
};

// A kernel needs permission for more than 48 KiB of dynamic shared memory.
template <typename... Params>
void allow_shared(void (*kernel)(Params...), std::size_t shared_bytes) {
  if (shared_bytes <= 48 * 1024) return;
  SG_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)));
}

// What a launch may ask for besides a grid.
class LaunchAttributes {
 public:
  LaunchAttributes(Order order, unsigned cluster) {
    if (order == Order::kChained) {
      cudaLaunchAttribute& chained = attributes_[count_++];
      chained.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      chained.val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
      cudaLaunchAttribute& clusters = attributes_[count_++];
      clusters.id = cudaLaunchAttributeClusterDimension;
      clusters.val.clusterDim.x = cluster;
      clusters.val.clusterDim.y = 1;
      clusters.val.clusterDim.z = 1;
    }
  }
  void add_to(cudaLaunchConfig_t& config) {
    config.attrs = attributes_;
    config.numAttrs = count_;
  }

 private:
  cudaLaunchAttribute attributes_[2] = {};
  unsigned count_ = 0;
};

// Queues a kernel on the stream of the context. Every launch comes through here, so that launch
// attributes and error checks have one place.
//   cluster       neighbouring blocks that run at the same time and reach each other's shared
//                 memory; grid.x is a multiple of it. More than 1 takes Hopper
//   shared_bytes  dynamic shared memory a block
template <typename... Params, typename... Args>
void launch_clusters(Order order, unsigned cluster, void (*kernel)(Params...), dim3 grid,
                     dim3 block, std::size_t shared_bytes, const Context& context, Args&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // an empty operand has no work
  const CurrentDevice current(context.stream->device_index());
  allow_shared(kernel, shared_bytes);
  LaunchAttributes attributes(order, cluster);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream->handle();
  attributes.add_to(config);
  SG_CUDA(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
}

// How many clusters of a kernel, or blocks where `cluster` is 1, run at the same time on the device
// of the context.
template <typename... Params>
int clusters_at_once(unsigned cluster, void (*kernel)(Params...), dim3 block,
                     std::size_t shared_bytes, const Context& context) {
  const CurrentDevice current(context.stream->device_index());
  allow_shared(kernel, shared_bytes);
  int count = 0;
  if (cluster == 1) {
    SG_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        &count, kernel, static_cast<int>(block.x * block.y * block.z), shared_bytes));
    return count * context.stream->num_multiprocessors();
  }
  LaunchAttributes attributes(Order::kAfter, cluster);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(cluster);
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  attributes.add_to(config);
  SG_CUDA(cudaOccupancyMaxActiveClusters(&count, kernel, &config));
  return count;
}

template <typename... Params, typename... Args>
void launch_in_order(Order order, void (*kernel)(Params...), dim3 grid, dim3 block,
                     std::size_t shared_bytes, const Context& context, Args&&... args) {
  launch_clusters(order, 1, kernel, grid, block, shared_bytes, context,
                  std::forward<Args>(args)...);
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            const Context& context, Args&&... args) {
  launch_in_order(Order::kAfter, kernel, grid, block, shared_bytes, context,
                  std::forward<Args>(args)...);
}

// Queues a kernel that may start while the one before it still runs (programmatic dependent
// launch). Every thread of it calls ptx::wait_for_previous() before it reads what another kernel
// wrote, and before it writes anything at all, scratch memory included, but for a fault, which no
// kernel reads. Then, when a kernel has ended, all before it have, and nothing needs two buffers.
// Before the wait it may read what no chained kernel of a step writes and none that the first of
// them follows at once: weights, the keys and values of earlier steps, and the tables and lengths
// that gather_rows writes at the beginning of a step. A kernel queued with launch() comes behind
// gather_rows and before the first chained one. It starts when gather_rows has ended, so whatever
// starts later finds the tables complete, wherever the kernels between call let_next_start().
template <typename... Params, typename... Args>
void launch_chained(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
                    const Context& context, Args&&... args) {
  launch_in_order(Order::kChained, kernel, grid, block, shared_bytes, context,
                  std::forward<Args>(args)...);
}

// The compute capability of Hopper, the only one whose kernels wait (ptx_hopper.cuh).
inline constexpr int kHopper = 90;

inline Order order_after_previous(const Context& context) {
  return context.stream->compute_capability() == kHopper ? Order::kChained : Order::kAfter;
}

// As launch_chained() where kernels can wait, else as launch(). The kernel calls
// ptx::follow_previous() where it would have to wait.
template <typename... Params, typename... Args>
void launch_following(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
                      const Context& context, Args&&... args) {
  launch_in_order(order_after_previous(context), kernel, grid, block, shared_bytes, context,
                  std::forward<Args>(args)...);
}

constexpr unsigned ceil_div(std::int64_t a, std::int64_t b) {
  return static_cast<unsigned>((a + b - 1) / b);
}

// Blocks for a loop over `count` items with a stride of the grid: as many as run at the same time.
inline unsigned grid_for(std::int64_t count, int threads, const Context& context) {
  const auto most = static_cast<unsigned>(context.stream->num_multiprocessors() * 8);
  const unsigned wanted = ceil_div(count, threads);
  return wanted < most ? wanted : most;
}

}  // namespace stagegate::cuda

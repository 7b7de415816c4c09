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

// Queues a kernel on the stream of the context. Every launch comes through here, so that launch
// attributes and error checks have one place.
//   shared_bytes  dynamic shared memory a block; more than 48 KiB is asked for as the device wants
template <typename... Params, typename... Args>
void launch_in_order(Order order, void (*kernel)(Params...), dim3 grid, dim3 block,
                     std::size_t shared_bytes, const Context& context, Args&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // an empty operand has no work
  const CurrentDevice current(context.stream->device_index());
  if (shared_bytes > 48 * 1024) {
    SG_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes)));
  }
  cudaLaunchAttribute chained{};
  chained.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  chained.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream->handle();
  config.attrs = &chained;
  config.numAttrs = order == Order::kChained ? 1 : 0;
  SG_CUDA(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            const Context& context, Args&&... args) {
  launch_in_order(Order::kAfter, kernel, grid, block, shared_bytes, context,
                  std::forward<Args>(args)...);
}

// Queues a kernel that may start while the one before it still runs (programmatic dependent
// launch). Every thread of it calls ptx::wait_for_previous() before it reads what another kernel
// wrote, and before it writes anything at all, scratch memory included. Then, when a kernel has
// ended, all before it have, and nothing needs two buffers. Before the wait it may read what no
// kernel of a step writes: weights, tables, and the keys and values of earlier steps.
template <typename... Params, typename... Args>
void launch_chained(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
                    const Context& context, Args&&... args) {
  launch_in_order(Order::kChained, kernel, grid, block, shared_bytes, context,
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

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

// Queues a kernel on the stream of the context. Every launch comes through here, so that launch
// attributes and error checks have one place.
//   shared_bytes  dynamic shared memory a block; more than 48 KiB is asked for as the device wants
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t shared_bytes,
            const Context& context, Args&&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // an empty operand has no work
  const CurrentDevice current(context.stream->device_index());
  if (shared_bytes > 48 * 1024) {
    SG_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream->handle();
  SG_CUDA(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
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

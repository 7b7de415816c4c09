#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/fill_drawn/fill_drawn_faults.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 128;

__global__ void fill_drawn_kernel(const std::int32_t* drawn, std::int64_t num_drawn,
                                  const std::int32_t* rows, std::int32_t* ids, std::int64_t tokens,
                                  Fault* fault) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (token >= tokens || rows[token] == -1) return;
  const std::int64_t row = rows[token];
  if (row < 0 || row >= num_drawn) {
    report(fault, FillDrawnFault::kRow, row, token, num_drawn);
    return;
  }
  ids[token] = drawn[row];
}

}  // namespace

void fill_drawn(const Context& context, const Tensor& drawn, const Tensor& rows,
                const Tensor& ids) {
  launch(fill_drawn_kernel, ceil_div(rows.numel(), kThreads), kThreads, 0, context,
         input<std::int32_t>(drawn), drawn.numel(), input<std::int32_t>(rows),
         output<std::int32_t>(ids), rows.numel(), context.stream->fault());
}

}  // namespace stagegate::cuda

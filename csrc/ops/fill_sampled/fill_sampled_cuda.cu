#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/fill_sampled/fill_sampled_faults.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 128;

__global__ void fill_sampled_kernel(const std::int32_t* last_token, std::int64_t num_rows,
                                    const std::int32_t* rows, std::int32_t* ids,
                                    std::int64_t tokens, Fault* fault) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (token >= tokens || rows[token] == -1) return;
  const std::int64_t row = rows[token];
  if (row < 0 || row >= num_rows) {
    report(fault, FillSampledFault::kRow, row, token, num_rows);
    return;
  }
  ids[token] = last_token[row];
}

}  // namespace

void fill_sampled(const Context& context, const Tensor& last_token, const Tensor& rows,
                  const Tensor& ids) {
  launch(fill_sampled_kernel, ceil_div(rows.numel(), kThreads), kThreads, 0, context,
         input<std::int32_t>(last_token), last_token.numel(), input<std::int32_t>(rows),
         output<std::int32_t>(ids), rows.numel(), context.stream->fault());
}

}  // namespace stagegate::cuda

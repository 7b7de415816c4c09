#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "ops/attention/kernels/device_keys.h"
#include "ops/attention/kernels/flashinfer/dispatch.h"
#include "ops/attention/kernels/kernels.h"

namespace stagegate::cuda {

void attention_flashinfer(const Context& context, const AttentionCall& operands) {
  const auto& [q, k_cache, v_cache, out, scale, form] = operands;
  const PagedKeys keys = device_keys(operands).paged;
  const CurrentDevice current(context.stream->device_index());
  const FlashInferShape shape{.heads = static_cast<int>(q.dim(1)),
                              .kv_heads = static_cast<int>(k_cache.dim(1)),
                              .head_dim = static_cast<int>(q.dim(2))};
  const FlashInferPlan plan = plan_flashinfer(context, keys, shape, out.raw_data());
  const FlashInferCall call{.q = q.raw_data(),
                            .k = k_cache.raw_data(),
                            .v = v_cache.raw_data(),
                            .out = out.raw_data(),
                            .q_stride = q.stride(0),
                            .kv_stride = k_cache.stride(0),
                            .shape = shape,
                            .scale = scale,
                            .stream = context.stream->handle()};
  if (q.dtype() == DType::kF16) {
    return shape.head_dim == 64 ? run_flashinfer<__half, 64>(call, keys, plan)
                                : run_flashinfer<__half, 128>(call, keys, plan);
  }
  return shape.head_dim == 64 ? run_flashinfer<__nv_bfloat16, 64>(call, keys, plan)
                              : run_flashinfer<__nv_bfloat16, 128>(call, keys, plan);
}

}  // namespace stagegate::cuda

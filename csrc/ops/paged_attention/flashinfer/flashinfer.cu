#include <limits>

#include "core/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "ops/attention/attention_cuda.cuh"
#include "ops/paged_attention/flashinfer/dispatch.h"
#include "ops/paged_attention/flashinfer/flashinfer.h"

namespace stagegate::cuda {
namespace {

void check_operands(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
                    const PagedKeys& keys, float scale, const Tensor& out) {
  constexpr const char* kOp = "paged_attention: FlashInfer takes ";
  constexpr const char* kFix = "; use attention=\"native\"";
  const std::int64_t head_dim = q.dim(2);
  SG_CHECK(ArgumentError, size_of(q.dtype()) == 2, kOp, "f16 and bf16, q is ", q.describe(), kFix);
  SG_CHECK(ArgumentError, head_dim == 64 || head_dim == 128, kOp, "head_dim 64 and 128, got ",
           head_dim, kFix);
  SG_CHECK(ArgumentError, scale > 0.0f, kOp, "a scale above 0, got ", scale, kFix);
  for (const auto& [name, tensor] : {std::pair("q", &q), std::pair("k_cache", &k_cache),
                                     std::pair("v_cache", &v_cache), std::pair("out", &out)}) {
    SG_CHECK(ArgumentError, rows_aligned(*tensor), kOp, "rows at multiples of 16 bytes, ", name,
             " is ", tensor->describe(), kFix);
  }
  SG_CHECK(ArgumentError, k_cache.stride(0) == v_cache.stride(0), kOp,
           "rows of k_cache and v_cache equally far apart, they are ", k_cache.stride(0), " and ",
           v_cache.stride(0), " elements", kFix);
  // It counts in 32 bits: elements of q, of out and of a page, and slots of the tables.
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t elements = q.dim(0) * std::max(q.stride(0), out.stride(0));
  const std::int64_t page = k_cache.stride(0) * keys.block_size;
  const std::int64_t slots = std::int64_t{keys.sequences} * keys.width * keys.block_size;
  SG_CHECK(ArgumentError, elements <= kMost && page <= kMost && slots <= kMost, kOp, "at most ",
           kMost, " elements of q (", elements, ") and of a block (", page,
           ") and slots of block_tables (", slots, ")", kFix);
}

}  // namespace

void flashinfer_attention(const Context& context, const Tensor& q, const Tensor& k_cache,
                          const Tensor& v_cache, const PagedKeys& keys, float scale,
                          const Tensor& out) {
  check_operands(q, k_cache, v_cache, keys, scale, out);
  const CurrentDevice current(context.stream->device_index());
  const FlashInferShape shape{.heads = static_cast<int>(q.dim(1)),
                              .kv_heads = static_cast<int>(k_cache.dim(1)),
                              .head_dim = static_cast<int>(q.dim(2))};
  const FlashInferPlan plan = plan_flashinfer(context, keys, shape);
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

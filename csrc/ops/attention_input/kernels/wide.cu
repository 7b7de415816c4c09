#include "ops/attention_input/forms.h"
#include "ops/attention_input/kernels/wide_heads.cuh"
#include "ops/linear/kernels/wide_launch.cuh"

namespace stagegate::cuda {

namespace {

template <typename T>
const T* input_or_null(const Tensor& tensor) {
  return tensor.defined() ? input<T>(tensor) : nullptr;
}

template <typename T, int kHeadDim>
wide::KeepHeads<T, kHeadDim> epilogue_of(const Context& context, const AttentionInputCall& call) {
  const std::int64_t kv_heads = call.kv.keys.dim(1);
  return {.qkv = output<T>(call.qkv),
          .bias = input_or_null<T>(call.weights.qkv.bias),
          .q_norm = input_or_null<T>(call.weights.q_norm),
          .k_norm = input_or_null<T>(call.weights.k_norm),
          .eps = call.eps,
          .positions = input<std::int32_t>(call.positions),
          .cos = input<float>(call.rope_table.cos),
          .sin = input<float>(call.rope_table.sin),
          .table_length = call.rope_table.cos.dim(0),
          .slot_mapping = input<std::int32_t>(call.slot_mapping),
          .keys = output<T>(call.kv.keys),
          .values = output<T>(call.kv.values),
          .num_slots = call.kv.keys.dim(0),
          .heads = static_cast<int>(call.qkv.dim(1) - 2 * kv_heads),
          .kv_heads = static_cast<int>(kv_heads),
          .fault = context.stream->fault()};
}

}  // namespace

void attention_input_wide(const Context& context, const AttentionInputCall& call) {
  using stagegate::wide::kHeadsGroups;
  const Tensor& weight = call.weights.qkv.data;
  const wide::Product product{
      .weight = weight,
      .parts = 1,
      .x = call.residual,
      .norm = call.weights.norm.raw_data(),
      .eps = call.eps,
      .splits = stagegate::wide::splits_of(weight.dim(0), weight.dim(1), kHeadsGroups,
                                           context.stream->num_multiprocessors())};
  dispatch_device("attention_input", call.residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      if (call.qkv.dim(2) == 128) {
        wide::launch_product<T, kHeadsGroups, true, true>(context, product,
                                                          epilogue_of<T, 128>(context, call));
      } else {
        wide::launch_product<T, kHeadsGroups, true, true>(context, product,
                                                          epilogue_of<T, 64>(context, call));
      }
    }
  });
}

}  // namespace stagegate::cuda

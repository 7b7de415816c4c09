#include "kv/cache.h"

#include "device/memory.h"

namespace stagegate {

KvCache::KvCache(std::int64_t num_layers, std::int64_t num_slots, std::int64_t num_kv_heads,
                 std::int64_t head_dim, DType dtype, Device device)
    : num_slots_(num_slots), dtype_(dtype) {
  SG_CHECK(ArgumentError, num_slots > 0, "KV cache: needs at least one slot, got ", num_slots);
  SG_CHECK(DTypeError, is_floating(dtype), "KV cache: dtype must be f32, f16 or bf16, got ",
           name_of(dtype));
  const Shape shape = {num_slots, num_kv_heads, head_dim};
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    layers_.push_back({.keys = empty(shape, dtype, device),
                       .values = empty(shape, dtype, device),
                       .key_scale = Tensor(),
                       .value_scale = Tensor()});
  }
}

std::size_t KvCache::size_bytes() const {
  std::size_t total = 0;
  for (const KvLayer& layer : layers_) {
    for (const Tensor* tensor :
         {&layer.keys, &layer.values, &layer.key_scale, &layer.value_scale}) {
      if (tensor->defined()) total += tensor->size_bytes();
    }
  }
  return total;
}

}  // namespace stagegate

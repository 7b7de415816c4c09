#include <cstring>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/kv_write/kv_write_faults.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache) {
  const std::int32_t* slots = slot_mapping.data<std::int32_t>();
  const std::size_t width = size_of(k.dtype());
  const std::size_t row_bytes = static_cast<std::size_t>(k.dim(1) * k.dim(2)) * width;
  const auto copy_row = [&](const Tensor& from, std::int64_t t, const Tensor& to) {
    std::memcpy(
        static_cast<std::byte*>(to.raw_data()) + static_cast<std::size_t>(slots[t]) * row_bytes,
        static_cast<const std::byte*>(from.raw_data()) +
            static_cast<std::size_t>(t * from.stride(0)) * width,
        row_bytes);
  };
  parallel_for(k.dim(0), context.num_threads, [&](std::int64_t t) {
    if (slots[t] == -1) return;
    SG_CHECK(ArgumentError, slots[t] >= 0 && slots[t] < k_cache.dim(0),
             describe(make_fault(KvWriteFault::kSlot, slots[t], t, k_cache.dim(0))));
    copy_row(k, t, k_cache);
    copy_row(v, t, v_cache);
  });
}

}  // namespace stagegate::cpu

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/kv_write/kv_write_faults.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 64;

// One block a token; Unit is what a thread moves at once, strides are in units.
template <typename Unit>
__global__ void kv_write_kernel(const Unit* k, std::int64_t k_stride, const Unit* v,
                                std::int64_t v_stride, const std::int32_t* slot_mapping,
                                Unit* k_cache, Unit* v_cache, int units, std::int64_t num_slots,
                                Fault* fault) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t slot = slot_mapping[token];
  if (slot == -1) return;
  if (slot < 0 || slot >= num_slots) {
    if (threadIdx.x == 0) report(fault, KvWriteFault::kSlot, slot, token, num_slots);
    return;
  }
  for (int i = threadIdx.x; i < units; i += kThreads) {
    k_cache[slot * units + i] = k[token * k_stride + i];
    v_cache[slot * units + i] = v[token * v_stride + i];
  }
}

}  // namespace

void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache) {
  const auto element = static_cast<std::int64_t>(size_of(k.dtype()));
  const std::int64_t row_bytes = k.dim(1) * k.dim(2) * element;
  // The step from one row to the next must be a whole number of units too.
  const std::int64_t steps = row_bytes | (k.stride(0) * element) | (v.stride(0) * element);
  dispatch_unit(
      steps, {k.raw_data(), v.raw_data(), k_cache.raw_data(), v_cache.raw_data()}, [&](auto tag) {
        using Unit = decltype(tag);
        constexpr auto kUnit = static_cast<std::int64_t>(sizeof(Unit));
        launch(kv_write_kernel<Unit>, static_cast<unsigned>(k.dim(0)), kThreads, 0, context,
               input<Unit>(k), k.stride(0) * element / kUnit, input<Unit>(v),
               v.stride(0) * element / kUnit, input<std::int32_t>(slot_mapping),
               output<Unit>(k_cache), output<Unit>(v_cache), static_cast<int>(row_bytes / kUnit),
               k_cache.dim(0), context.stream->fault());
      });
}

}  // namespace stagegate::cuda

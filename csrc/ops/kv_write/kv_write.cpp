#include "ops/kv_write/kv_write.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache);
}
namespace cuda {
void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache);
}

void kv_write(const Context& context, const Tensor& k, const Tensor& v, const Tensor& slot_mapping,
              const Tensor& k_cache, const Tensor& v_cache) {
  checks::shape("kv_write", "k", k, {-1, -1, -1});
  checks::shape("kv_write", "v", v, k.shape());
  checks::shape("kv_write", "slot_mapping", slot_mapping, {k.dim(0)});
  checks::shape("kv_write", "k_cache", k_cache, {-1, k.dim(1), k.dim(2)});
  checks::shape("kv_write", "v_cache", v_cache, k_cache.shape());
  checks::floating("kv_write", "k", k);
  checks::dtype("kv_write", "v", v, k.dtype());
  checks::dtype("kv_write", "k_cache", k_cache, k.dtype());
  checks::dtype("kv_write", "v_cache", v_cache, k.dtype());
  checks::dtype("kv_write", "slot_mapping", slot_mapping, DType::kI32);
  checks::dense("kv_write", context,
                {{"slot_mapping", &slot_mapping}, {"k_cache", &k_cache}, {"v_cache", &v_cache}});
  for (const auto& [name, tensor] : {std::pair{"k", &k}, std::pair{"v", &v}}) {
    checks::device("kv_write", name, *tensor, context);
    checks::rows_contiguous("kv_write", name, *tensor);
  }
  const Dispatch dispatch("kv_write", context.device);
  if (context.device.is_cpu()) return cpu::kv_write(context, k, v, slot_mapping, k_cache, v_cache);
  if constexpr (cuda::kEnabled)
    return cuda::kv_write(context, k, v, slot_mapping, k_cache, v_cache);
  checks::no_kernel("kv_write", context);
}

}  // namespace stagegate

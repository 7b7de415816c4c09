#include "ops/embedding/embedding.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out);
}
namespace cuda {
void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out);
}

void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out) {
  checks::shape("embedding", "ids", ids, {-1});
  checks::shape("embedding", "table", table, {-1, -1});
  checks::shape("embedding", "out", out, {ids.dim(0), table.dim(1)});
  checks::dtype("embedding", "ids", ids, DType::kI32);
  checks::floating("embedding", "table", table);
  checks::dtype("embedding", "out", out, table.dtype());
  checks::dense("embedding", context, {{"ids", &ids}, {"table", &table}, {"out", &out}});
  const Dispatch dispatch("embedding", context.device);
  if (context.device.is_cpu()) return cpu::embedding(context, ids, table, out);
  if constexpr (cuda::kEnabled) return cuda::embedding(context, ids, table, out);
  checks::no_kernel("embedding", context);
}

}  // namespace stagegate

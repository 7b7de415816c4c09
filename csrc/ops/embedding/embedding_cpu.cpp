#include <cstring>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/embedding/embedding_faults.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out) {
  const auto* rows = static_cast<const std::byte*>(table.raw_data());
  auto* to = static_cast<std::byte*>(out.raw_data());
  const std::int32_t* id = ids.data<std::int32_t>();
  const std::size_t row_bytes = static_cast<std::size_t>(table.dim(1)) * size_of(table.dtype());
  parallel_for(ids.numel(), context.num_threads, [&](std::int64_t t) {
    SG_CHECK(ArgumentError, id[t] >= 0 && id[t] < table.dim(0),
             describe(make_fault(EmbeddingFault::kId, id[t], t, table.dim(0))));
    std::memcpy(to + static_cast<std::size_t>(t) * row_bytes,
                rows + static_cast<std::size_t>(id[t]) * row_bytes, row_bytes);
  });
}

}  // namespace stagegate::cpu

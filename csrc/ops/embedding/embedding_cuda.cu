#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/embedding/embedding_faults.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 128;

// One block a row; Unit is what a thread moves at once.
template <typename Unit>
__global__ void embedding_kernel(const std::int32_t* ids, const Unit* table, Unit* out, int units,
                                 std::int64_t rows, Fault* fault) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t id = ids[token];
  if (id < 0 || id >= rows) {
    if (threadIdx.x == 0) report(fault, EmbeddingFault::kId, id, token, rows);
    return;
  }
  for (int i = threadIdx.x; i < units; i += kThreads) {
    out[token * units + i] = table[id * units + i];
  }
}

}  // namespace

void embedding(const Context& context, const Tensor& ids, const Tensor& table, const Tensor& out) {
  const auto row_bytes = static_cast<std::int64_t>(size_of(table.dtype())) * table.dim(1);
  dispatch_unit(row_bytes, {table.raw_data(), out.raw_data()}, [&](auto tag) {
    using Unit = decltype(tag);
    launch(embedding_kernel<Unit>, static_cast<unsigned>(ids.numel()), kThreads, 0, context,
           input<std::int32_t>(ids), input<Unit>(table), output<Unit>(out),
           static_cast<int>(row_bytes / static_cast<std::int64_t>(sizeof(Unit))), table.dim(0),
           context.stream->fault());
  });
}

}  // namespace stagegate::cuda

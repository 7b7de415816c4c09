#include "ops/attention/checks.h"

#include <limits>

#include "ops/checks.h"

namespace stagegate::checks {

void attention(std::string_view op, const Context& context, const Tensor& q, Operand keys,
               Operand values, const Tensor& out) {
  const Tensor& k = *keys.tensor;
  const Tensor& v = *values.tensor;
  shape(op, "q", q, {-1, -1, -1});
  shape(op, keys.name, k, {-1, -1, q.dim(2)});
  shape(op, values.name, v, k.shape());
  shape(op, "out", out, q.shape());
  SG_CHECK(ShapeError, k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, op, ": ", q.dim(1),
           " query heads are not a multiple of ", k.dim(1), " key heads");
  floating(op, "q", q);
  dtype(op, keys.name, k, q.dtype());
  dtype(op, values.name, v, q.dtype());
  dtype(op, "out", out, q.dtype());
  for (const auto& [name, tensor] : {Operand{"q", &q}, keys, values}) {
    device(op, name, *tensor, context);
    rows_contiguous(op, name, *tensor);
  }
  dense(op, context, {{"out", &out}});
}

void paged_metadata(std::string_view op, const Context& context, const Tensor& block_tables,
                    const Tensor& context_lens, const Tensor& cu_seqlens_q,
                    std::int64_t block_size) {
  shape(op, "context_lens", context_lens, {-1});
  shape(op, "block_tables", block_tables, {context_lens.dim(0), -1});
  shape(op, "cu_seqlens_q", cu_seqlens_q, {context_lens.dim(0) + 1});
  dtype(op, "block_tables", block_tables, DType::kI32);
  dtype(op, "context_lens", context_lens, DType::kI32);
  dtype(op, "cu_seqlens_q", cu_seqlens_q, DType::kI32);
  dense(op, context,
        {{"block_tables", &block_tables},
         {"context_lens", &context_lens},
         {"cu_seqlens_q", &cu_seqlens_q}});
  SG_CHECK(ArgumentError, block_size > 0 && block_size <= std::numeric_limits<std::int32_t>::max(),
           op, ": block_size must be positive and fit into 32 bits, got ", block_size);
}

void csr_metadata(std::string_view op, const Context& context, std::int64_t num_queries,
                  const Tensor& used_slots, const Tensor& row_ptr, const Tensor& col_idx) {
  shape(op, "used_slots", used_slots, {-1});
  shape(op, "row_ptr", row_ptr, {num_queries + 1});
  shape(op, "col_idx", col_idx, {-1});
  dtype(op, "used_slots", used_slots, DType::kI32);
  dtype(op, "row_ptr", row_ptr, DType::kI32);
  dtype(op, "col_idx", col_idx, DType::kI32);
  dense(op, context, {{"used_slots", &used_slots}, {"row_ptr", &row_ptr}, {"col_idx", &col_idx}});
}

}  // namespace stagegate::checks

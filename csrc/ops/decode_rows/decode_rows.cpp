#include "ops/decode_rows/decode_rows.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void set_rows(const Context& context, const RowChanges& changes, const DecodeRows& state);
void gather_rows(const Context& context, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out);
void record_samples(const Context& context, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state);
}  // namespace cpu
namespace cuda {
void set_rows(const Context& context, const RowChanges& changes, const DecodeRows& state);
void gather_rows(const Context& context, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out);
void record_samples(const Context& context, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state);
}  // namespace cuda

namespace {

void check(std::string_view op, const Context& context, std::string_view name, const Tensor& tensor,
           const Shape& shape, DType dtype = DType::kI32) {
  SG_CHECK(ArgumentError, tensor.defined(), op, ": ", name, " is missing");
  checks::shape(op, name, tensor, shape);
  checks::dtype(op, name, tensor, dtype);
  checks::dense(op, context, {{name, &tensor}});
}

// group: which operand they belong to, "state" for example.
void check_columns(std::string_view op, const Context& context, std::string_view group,
                   const SamplingColumns& columns, std::int64_t rows) {
  for (const SamplingColumn& column : kSamplingColumns) {
    check(op, context, message(group, ".", column.name), columns.*column.tensor, {rows},
          column.dtype);
  }
}

// Rows of the state.
std::int64_t checked_state(std::string_view op, const Context& context, const DecodeRows& state) {
  check(op, context, "state.block_tables", state.block_tables, {-1, -1});
  const std::int64_t rows = state.block_tables.dim(0);
  check(op, context, "state.last_token", state.last_token, {rows});
  check(op, context, "state.context_len", state.context_len, {rows});
  check(op, context, "state.prompt_len", state.prompt_len, {rows});
  check(op, context, "state.tokens", state.tokens, {rows, -1});
  check_columns(op, context, "state", state, rows);
  return rows;
}

}  // namespace

void set_rows(const Context& context, const RowChanges& changes, const DecodeRows& state) {
  constexpr const char* kOp = "set_rows";
  checked_state(kOp, context, state);
  check(kOp, context, "changes.rows", changes.rows, {-1});
  const std::int64_t rows = changes.rows.numel();
  check(kOp, context, "changes.last_token", changes.last_token, {rows});
  check(kOp, context, "changes.context_len", changes.context_len, {rows});
  check(kOp, context, "changes.prompt_len", changes.prompt_len, {rows});
  check(kOp, context, "changes.token_ptr", changes.token_ptr, {rows + 1});
  check(kOp, context, "changes.tokens", changes.tokens, {-1});
  check_columns(kOp, context, "changes", changes, rows);
  check(kOp, context, "changes.block_rows", changes.block_rows, {-1});
  check(kOp, context, "changes.block_indices", changes.block_indices, changes.block_rows.shape());
  check(kOp, context, "changes.block_ids", changes.block_ids, changes.block_rows.shape());
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu()) return cpu::set_rows(context, changes, state);
  if constexpr (cuda::kEnabled) return cuda::set_rows(context, changes, state);
  checks::no_kernel(kOp, context);
}

void gather_rows(const Context& context, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out) {
  constexpr const char* kOp = "gather_rows";
  checked_state(kOp, context, state);
  check(kOp, context, "rows", rows, {-1});
  SG_CHECK(ArgumentError, block_size > 0, kOp, ": block_size must be positive, got ", block_size);
  const std::int64_t count = rows.numel();
  check(kOp, context, "out.input_ids", out.input_ids, {count});
  check(kOp, context, "out.positions", out.positions, {count});
  check(kOp, context, "out.slot_mapping", out.slot_mapping, {count});
  check(kOp, context, "out.context_lens", out.context_lens, {count});
  check(kOp, context, "out.block_tables", out.block_tables, {count, state.block_tables.dim(1)});
  check_columns(kOp, context, "out", out, count);
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu()) return cpu::gather_rows(context, state, rows, block_size, out);
  if constexpr (cuda::kEnabled) return cuda::gather_rows(context, state, rows, block_size, out);
  checks::no_kernel(kOp, context);
}

void record_samples(const Context& context, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state) {
  constexpr const char* kOp = "record_samples";
  checked_state(kOp, context, state);
  check(kOp, context, "rows", rows, {-1});
  check(kOp, context, "token_ids", token_ids, rows.shape());
  check(kOp, context, "context_lens", context_lens, rows.shape());
  check(kOp, context, "draw_index", draw_index, rows.shape(), DType::kI64);
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu()) {
    return cpu::record_samples(context, rows, token_ids, context_lens, draw_index, state);
  }
  if constexpr (cuda::kEnabled) {
    return cuda::record_samples(context, rows, token_ids, context_lens, draw_index, state);
  }
  checks::no_kernel(kOp, context);
}

}  // namespace stagegate

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "ops/decode_rows/decode_rows.h"
#include "ops/decode_rows/decode_rows_faults.h"

namespace stagegate::cpu {

namespace {

const std::int32_t* ints(const Tensor& tensor) { return tensor.data<std::int32_t>(); }

// A row of the state, checked.
std::int64_t row_at(const Tensor& rows, std::int64_t i, std::int64_t num_rows,
                    DecodeRowsFault fault = DecodeRowsFault::kRow) {
  const std::int64_t row = ints(rows)[i];
  SG_CHECK(ArgumentError, row >= 0 && row < num_rows,
           describe(make_fault(fault, row, i, num_rows)));
  return row;
}

void copy_columns(const SamplingColumns& from, std::int64_t source, const SamplingColumns& to,
                  std::int64_t target) {
  for (const SamplingColumn& column : kSamplingColumns) {
    const auto width = static_cast<std::int64_t>(size_of(column.dtype));
    std::memcpy(static_cast<std::byte*>((to.*column.tensor).raw_data()) + target * width,
                static_cast<const std::byte*>((from.*column.tensor).raw_data()) + source * width,
                static_cast<std::size_t>(width));
  }
}

// Everything 0, which off values need not be: nobody looks at the parameters of a padded row.
void clear_columns(const SamplingColumns& to, std::int64_t target) {
  for (const SamplingColumn& column : kSamplingColumns) {
    const auto width = static_cast<std::int64_t>(size_of(column.dtype));
    std::memset(static_cast<std::byte*>((to.*column.tensor).raw_data()) + target * width, 0,
                static_cast<std::size_t>(width));
  }
  to.draw_index.data<std::int64_t>()[target] = kPaddedRow;
}

// Puts the tokens of change i at the front of a row.
void set_tokens(const RowChanges& changes, std::int64_t i, const DecodeRows& state,
                std::int64_t row) {
  const std::int64_t first = ints(changes.token_ptr)[i];
  const std::int64_t last = ints(changes.token_ptr)[i + 1];
  const std::int64_t given = changes.tokens.numel();
  SG_CHECK(
      ArgumentError, 0 <= first && first <= last && last <= given,
      describe(make_fault(DecodeRowsFault::kTokenPtr, first, i, last, static_cast<double>(given))));
  const std::int64_t places = state.tokens.dim(1);
  SG_CHECK(ArgumentError, last - first <= places,
           describe(make_fault(DecodeRowsFault::kTokens, last - first, i, places)));
  std::copy(ints(changes.tokens) + first, ints(changes.tokens) + last,
            state.tokens.data<std::int32_t>() + row * places);
}

}  // namespace

void set_rows(const Context&, const RowChanges& changes, const DecodeRows& state) {
  const std::int64_t num_rows = state.block_tables.dim(0);
  const std::int64_t width = state.block_tables.dim(1);
  for (std::int64_t i = 0; i < changes.rows.numel(); ++i) {
    const std::int64_t row = row_at(changes.rows, i, num_rows);
    state.last_token.data<std::int32_t>()[row] = ints(changes.last_token)[i];
    state.context_len.data<std::int32_t>()[row] = ints(changes.context_len)[i];
    state.prompt_len.data<std::int32_t>()[row] = ints(changes.prompt_len)[i];
    copy_columns(changes, i, state, row);
    set_tokens(changes, i, state, row);
  }
  for (std::int64_t i = 0; i < changes.block_rows.numel(); ++i) {
    const std::int64_t row = row_at(changes.block_rows, i, num_rows, DecodeRowsFault::kBlockRow);
    const std::int64_t index = ints(changes.block_indices)[i];
    SG_CHECK(ArgumentError, index >= 0 && index < width,
             describe(make_fault(DecodeRowsFault::kBlockIndex, index, i, width)));
    state.block_tables.data<std::int32_t>()[row * width + index] = ints(changes.block_ids)[i];
  }
}

void gather_rows(const Context&, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out) {
  const std::int64_t width = state.block_tables.dim(1);
  auto* const input_ids = out.input_ids.data<std::int32_t>();
  auto* const positions = out.positions.data<std::int32_t>();
  auto* const slots = out.slot_mapping.data<std::int32_t>();
  auto* const context_lens = out.context_lens.data<std::int32_t>();
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    if (ints(rows)[i] == -1) {
      input_ids[i] = positions[i] = context_lens[i] = 0;
      slots[i] = -1;
      clear_columns(out, i);
      continue;
    }
    const std::int64_t row = row_at(rows, i, state.block_tables.dim(0));
    const std::int64_t position = ints(state.context_len)[row];
    const std::int64_t block = position / block_size;
    SG_CHECK(ArgumentError, position >= 0 && block < width,
             describe(make_fault(DecodeRowsFault::kTableFull, position + 1, i, width * block_size,
                                 static_cast<double>(width))));
    const std::int32_t* table = ints(state.block_tables) + row * width;
    input_ids[i] = ints(state.last_token)[row];
    positions[i] = static_cast<std::int32_t>(position);
    slots[i] = static_cast<std::int32_t>(table[block] * block_size + position % block_size);
    context_lens[i] = static_cast<std::int32_t>(position + 1);
    std::copy_n(table, block + 1, out.block_tables.data<std::int32_t>() + i * width);
    copy_columns(state, row, out, i);
  }
}

void record_samples(const Context&, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state) {
  const std::int64_t places = state.tokens.dim(1);
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    if (ints(rows)[i] == -1) continue;
    const std::int64_t row = row_at(rows, i, state.block_tables.dim(0));
    state.last_token.data<std::int32_t>()[row] = ints(token_ids)[i];
    const std::int64_t position = ints(context_lens)[i];
    state.context_len.data<std::int32_t>()[row] = ints(context_lens)[i];
    if (position >= 0 && position < places) {
      state.tokens.data<std::int32_t>()[row * places + position] = ints(token_ids)[i];
    }
    state.draw_index.data<std::int64_t>()[row] = draw_index.data<std::int64_t>()[i] + 1;
  }
}

}  // namespace stagegate::cpu

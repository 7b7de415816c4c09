#include <algorithm>
#include <iterator>

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "ops/decode_rows/decode_rows.h"
#include "ops/decode_rows/decode_rows_faults.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kColumns = std::size(kSamplingColumns);

// The columns of two structs, in words of 32 bits: how a number is read does not matter here.
struct ColumnPairs {
  struct Pair {
    const std::uint32_t* from;
    std::uint32_t* to;
    int words;
  };
  Pair pairs[kColumns];
};

ColumnPairs pairs_of(const SamplingColumns& from, const SamplingColumns& to) {
  ColumnPairs result{};
  for (int i = 0; i < kColumns; ++i) {
    const SamplingColumn& column = kSamplingColumns[i];
    result.pairs[i] = {input<std::uint32_t>(from.*column.tensor),
                       output<std::uint32_t>(to.*column.tensor),
                       static_cast<int>(size_of(column.dtype) / sizeof(std::uint32_t))};
  }
  return result;
}

// source -1: zeros.
__device__ inline void copy_columns(const ColumnPairs& columns, std::int64_t source,
                                    std::int64_t target) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const ColumnPairs::Pair& pair = columns.pairs[i];
    for (int word = 0; word < pair.words; ++word) {
      pair.to[target * pair.words + word] = source < 0 ? 0u : pair.from[source * pair.words + word];
    }
  }
}

struct Rows {
  std::int32_t* last_token;
  std::int32_t* context_len;
  std::int32_t* block_tables;
  std::int32_t* prompt_len;
  std::int32_t* tokens;
  std::int64_t* draw_index;
  std::int64_t count;
  std::int64_t width;
  std::int64_t places;  // for tokens of a row
};

Rows rows_of(const DecodeRows& state) {
  return {.last_token = output<std::int32_t>(state.last_token),
          .context_len = output<std::int32_t>(state.context_len),
          .block_tables = output<std::int32_t>(state.block_tables),
          .prompt_len = output<std::int32_t>(state.prompt_len),
          .tokens = output<std::int32_t>(state.tokens),
          .draw_index = output<std::int64_t>(state.draw_index),
          .count = state.block_tables.dim(0),
          .width = state.block_tables.dim(1),
          .places = state.tokens.dim(1)};
}

__device__ inline std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void set_rows_kernel(const std::int32_t* rows, const std::int32_t* last_token,
                                const std::int32_t* context_len, const std::int32_t* prompt_len,
                                std::int64_t count, const __grid_constant__ ColumnPairs columns,
                                Rows state, Fault* fault) {
  const std::int64_t i = thread_index();
  if (i >= count) return;
  const std::int64_t row = rows[i];
  if (row < 0 || row >= state.count) {
    report(fault, DecodeRowsFault::kRow, row, i, state.count);
    return;
  }
  state.last_token[row] = last_token[i];
  state.context_len[row] = context_len[i];
  state.prompt_len[row] = prompt_len[i];
  copy_columns(columns, i, row);
}

// The blocks of column x of the grid serve one row.
__global__ void set_tokens_kernel(const std::int32_t* rows, const std::int32_t* token_ptr,
                                  const std::int32_t* tokens, std::int64_t num_tokens, Rows state,
                                  Fault* fault) {
  const std::int64_t i = blockIdx.x;
  const std::int64_t row = rows[i];
  const std::int64_t first = token_ptr[i];
  const std::int64_t last = token_ptr[i + 1];
  const bool reports = blockIdx.y == 0 && threadIdx.x == 0;
  if (row < 0 || row >= state.count) return;  // set_rows_kernel says so
  if (first < 0 || first > last || last > num_tokens) {
    if (reports) {
      report(fault, DecodeRowsFault::kTokenPtr, first, i, last, static_cast<double>(num_tokens));
    }
    return;
  }
  if (last - first > state.places) {
    if (reports) report(fault, DecodeRowsFault::kTokens, last - first, i, state.places);
    return;
  }
  std::int32_t* const to = state.tokens + row * state.places;
  const std::int64_t step = std::int64_t{gridDim.y} * kThreads;
  for (std::int64_t at = std::int64_t{blockIdx.y} * kThreads + threadIdx.x; at < last - first;
       at += step) {
    to[at] = tokens[first + at];
  }
}

__global__ void append_blocks_kernel(const std::int32_t* rows, const std::int32_t* indices,
                                     const std::int32_t* ids, std::int64_t count, Rows state,
                                     Fault* fault) {
  const std::int64_t i = thread_index();
  if (i >= count) return;
  const std::int64_t row = rows[i];
  const std::int64_t index = indices[i];
  if (row < 0 || row >= state.count) {
    report(fault, DecodeRowsFault::kBlockRow, row, i, state.count);
  } else if (index < 0 || index >= state.width) {
    report(fault, DecodeRowsFault::kBlockIndex, index, i, state.width);
  } else {
    state.block_tables[row * state.width + index] = ids[i];
  }
}

struct Gathered {
  std::int32_t* input_ids;
  std::int32_t* positions;
  std::int32_t* slot_mapping;
  std::int32_t* context_lens;
  std::int32_t* block_tables;
  std::int64_t* draw_index;
};

__device__ inline void clear_operands(const Gathered& out, std::int64_t at) {
  out.input_ids[at] = 0;
  out.positions[at] = 0;
  out.slot_mapping[at] = -1;
  out.context_lens[at] = 0;
  out.draw_index[at] = kPaddedRow;
}

// The blocks of column x of the grid serve one sequence: its table is spread over them, the first
// sees to the rest.
__global__ void gather_rows_kernel(Rows state, const std::int32_t* rows, int block_size,
                                   const __grid_constant__ ColumnPairs columns, Gathered out,
                                   Fault* fault) {
  const std::int64_t at = blockIdx.x;
  const std::int64_t row = rows[at];
  const bool first = blockIdx.y == 0 && threadIdx.x == 0;
  const bool exists = row >= 0 && row < state.count;
  if (!exists && row != -1 && first) report(fault, DecodeRowsFault::kRow, row, at, state.count);
  const int position = exists ? state.context_len[row] : 0;
  const int block = position / block_size;
  const bool fits = position >= 0 && block < state.width;
  if (exists && !fits && first) {
    report(fault, DecodeRowsFault::kTableFull, std::int64_t{position} + 1, at,
           state.width * block_size, static_cast<double>(state.width));
  }
  if (!exists || !fits) {
    if (!first) return;
    copy_columns(columns, -1, at);
    clear_operands(out, at);
    return;
  }
  const std::int32_t* from = state.block_tables + row * state.width;
  std::int32_t* to = out.block_tables + at * state.width;
  const int step = static_cast<int>(gridDim.y) * kThreads;
  for (int i = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x); i <= block;
       i += step) {
    to[i] = from[i];
  }
  if (!first) return;
  out.input_ids[at] = state.last_token[row];
  out.positions[at] = position;
  out.slot_mapping[at] = from[block] * block_size + position % block_size;
  out.context_lens[at] = position + 1;
  copy_columns(columns, row, at);
}

__global__ void record_samples_kernel(const std::int32_t* rows, const std::int32_t* token_ids,
                                      const std::int32_t* context_lens,
                                      const std::int64_t* draw_index, std::int64_t count,
                                      Rows state, Fault* fault) {
  const std::int64_t i = thread_index();
  if (i >= count || rows[i] == -1) return;
  const std::int64_t row = rows[i];
  if (row < 0 || row >= state.count) {
    report(fault, DecodeRowsFault::kRow, row, i, state.count);
    return;
  }
  state.last_token[row] = token_ids[i];
  state.context_len[row] = context_lens[i];
  const std::int64_t position = context_lens[i];
  if (position >= 0 && position < state.places) {
    state.tokens[row * state.places + position] = token_ids[i];
  }
  state.draw_index[row] = draw_index[i] + 1;
}

// The number of thread blocks that copy a list; each thread copies several entries.
unsigned blocks_for(const Context& context, std::int64_t entries) {
  constexpr std::int64_t kEntriesOfThread = 8;
  return static_cast<unsigned>(std::clamp<std::int64_t>(
      ceil_div(entries, kThreads * kEntriesOfThread), 1, context.stream->num_multiprocessors()));
}

}  // namespace

void set_rows(const Context& context, const RowChanges& changes, const DecodeRows& state) {
  const std::int64_t rows = changes.rows.numel();
  launch(set_rows_kernel, ceil_div(rows, kThreads), kThreads, 0, context,
         input<std::int32_t>(changes.rows), input<std::int32_t>(changes.last_token),
         input<std::int32_t>(changes.context_len), input<std::int32_t>(changes.prompt_len), rows,
         pairs_of(changes, state), rows_of(state), context.stream->fault());
  // Also without tokens: an offset may be wrong all the same.
  launch(set_tokens_kernel,
         dim3(static_cast<unsigned>(rows), blocks_for(context, changes.tokens.numel())),
         dim3(kThreads), 0, context, input<std::int32_t>(changes.rows),
         input<std::int32_t>(changes.token_ptr), input<std::int32_t>(changes.tokens),
         changes.tokens.numel(), rows_of(state), context.stream->fault());
  const std::int64_t blocks = changes.block_rows.numel();
  launch(append_blocks_kernel, ceil_div(blocks, kThreads), kThreads, 0, context,
         input<std::int32_t>(changes.block_rows), input<std::int32_t>(changes.block_indices),
         input<std::int32_t>(changes.block_ids), blocks, rows_of(state), context.stream->fault());
}

void gather_rows(const Context& context, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out) {
  const Gathered gathered{.input_ids = output<std::int32_t>(out.input_ids),
                          .positions = output<std::int32_t>(out.positions),
                          .slot_mapping = output<std::int32_t>(out.slot_mapping),
                          .context_lens = output<std::int32_t>(out.context_lens),
                          .block_tables = output<std::int32_t>(out.block_tables),
                          .draw_index = output<std::int64_t>(out.draw_index)};
  launch(gather_rows_kernel,
         dim3(static_cast<unsigned>(rows.numel()), blocks_for(context, state.block_tables.dim(1))),
         dim3(kThreads), 0, context, rows_of(state), input<std::int32_t>(rows),
         static_cast<int>(block_size), pairs_of(state, out), gathered, context.stream->fault());
}

void record_samples(const Context& context, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state) {
  const std::int64_t count = rows.numel();
  launch(record_samples_kernel, ceil_div(count, kThreads), kThreads, 0, context,
         input<std::int32_t>(rows), input<std::int32_t>(token_ids),
         input<std::int32_t>(context_lens), input<std::int64_t>(draw_index), count, rows_of(state),
         context.stream->fault());
}

}  // namespace stagegate::cuda

#include "runner/decode_state.h"

#include "device/memory.h"

namespace stagegate {

DecodeState::DecodeState(std::int64_t num_rows, std::int64_t table_width,
                         std::int64_t max_positions, Device device) {
  // Zeros: a row that is asked for before it was set is wrong, but never outside of anything.
  for (const SamplingColumn& column : kSamplingColumns) {
    rows_.*column.tensor = zeros({num_rows}, column.dtype, device);
  }
  rows_.last_token = zeros({num_rows}, DType::kI32, device);
  rows_.context_len = zeros({num_rows}, DType::kI32, device);
  rows_.block_tables = zeros({num_rows, table_width}, DType::kI32, device);
  rows_.prompt_len = zeros({num_rows}, DType::kI32, device);
  // Large, and never read but where tokens have been put. On a host it takes memory as it is used.
  rows_.tokens = empty({num_rows, max_positions}, DType::kI32, device);
}

std::size_t DecodeState::size_bytes() const {
  std::size_t total = 0;
  for (const SamplingColumn& column : kSamplingColumns) {
    total += (rows_.*column.tensor).size_bytes();
  }
  for (const Field<DecodeRows>& field : kDecodeRowsFields) {
    total += (rows_.*field.tensor).size_bytes();
  }
  return total;
}

}  // namespace stagegate

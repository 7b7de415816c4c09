#pragma once

#include "ops/decode_rows/decode_rows.h"

namespace stagegate {

// The rows that the sequences of a runner own from their admission to their end, on its device. The
// host says which sequence has which row, and sends what it alone knows: see RowChanges.
class DecodeState {
 public:
  // table_width: most blocks of a sequence; 0 where attention takes no block tables. max_positions:
  // most tokens of a sequence whose keys and values are computed.
  DecodeState(std::int64_t num_rows, std::int64_t table_width, std::int64_t max_positions,
              Device device);

  const DecodeRows& rows() const { return rows_; }
  std::int64_t num_rows() const { return rows_.last_token.dim(0); }
  std::int64_t table_width() const { return rows_.block_tables.dim(1); }
  std::size_t size_bytes() const;

 private:
  DecodeRows rows_;
};

}  // namespace stagegate

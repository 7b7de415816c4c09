#pragma once

#include "device/fault.h"

namespace stagegate {

// What set_rows, gather_rows and record_samples find wrong with values.
enum class DecodeRowsFault : FaultCode {
  kRow = first_fault("decode_rows"),  // a = row, b = its place in rows, c = rows there are
  kBlockRow,                          // a = row, b = its place in block_rows, c = rows there are
  kBlockIndex,  // a = index, b = its place in block_indices, c = table's width
  kTokenPtr,    // a = first, b = its place in token_ptr, c = last, value = tokens there are
  kTokens,      // a = tokens, b = the place of their row in rows, c = positions of a row
  kTableFull,   // a = tokens, b = sequence, c = tokens the table holds, value = blocks
};

}  // namespace stagegate

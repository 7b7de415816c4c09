#pragma once

#include "device/fault.h"

namespace stagegate {

// What attention finds wrong with values.
enum class AttentionFault : FaultCode {
  kBlock = first_fault(
      "attention"),  // a = block, b = sequence, c = blocks of the cache, value = its place
  kTableTooShort,    // a = tokens, b = sequence, c = tokens the table holds, value = its blocks
  kQueries,          // a = queries, b = sequence, c = tokens
  kQueryRange,       // a = first, b = last of cu_seqlens_q, c = queries
  kUsedSlot,         // a = slot, b = index in used_slots, c = slots of the cache
  kUsedSlotOrder,    // a = slot, b = index in used_slots
  kRowPtrRange,      // a = first, b = last of row_ptr, c = entries of col_idx
  kRowPtr,           // a = entry, b = its index
  kColIdx,           // a = index, b = query, c = used slots, value = its place in col_idx
};

}  // namespace stagegate

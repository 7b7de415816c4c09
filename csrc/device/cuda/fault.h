#pragma once

#include <cstdint>
#include <string>

namespace stagegate::cuda {

// What a kernel found wrong with its operands. It cannot throw, so it notes the first fault in
// memory of the device, leaves the element out, and whoever waits for the result throws.
enum class FaultKind : std::int32_t {
  kNone = 0,
  kDrawnRow,           // a = row, b = token, c = drawn tokens
  kEmbeddingId,        // a = id, b = position, c = rows of the table
  kRopePosition,       // a = position, b = token, c = length of the table
  kKvSlot,             // a = slot, b = token, c = slots of the cache
  kBlock,              // a = block, b = sequence, c = blocks of the cache, value = its place
  kTableTooShort,      // a = tokens, b = sequence, c = tokens the table holds, value = its blocks
  kQueries,            // a = queries, b = sequence, c = tokens
  kQueryRange,         // a = first, b = last of cu_seqlens_q, c = queries
  kUsedSlot,           // a = slot, b = index in used_slots, c = slots of the cache
  kUsedSlotOrder,      // a = slot, b = index in used_slots
  kRowPtrRange,        // a = first, b = last of row_ptr, c = entries of col_idx
  kRowPtr,             // a = entry, b = its index
  kColIdx,             // a = index, b = query, c = used slots, value = its place in col_idx
  kSamplingParameter,  // a = row, b = its place in kSamplingParameters, value
  kHistoryPtr,         // a = row, b = first, c = last, value = size of the list
  kHistoryId,          // a = id, b = row, c = vocabulary
  kBiasPtr,            // a = row, b = first, c = last, value = size of the list
  kBiasId,             // a = id, b = row, c = vocabulary
  kBiasValue,          // a = row, value
  kMaskIndex,          // a = index, b = row, c = rows of mask_bits
  kNoFiniteLogit,      // a = row
  kInfiniteLogit,      // a = row, b = token
  kNanLogit,           // a = row, b = token
};

struct Fault {
  FaultKind kind;
  std::int64_t a, b, c;
  double value;
};

// The sentence a caller reads, as the CPU operators word it.
std::string describe(const Fault& fault);
// Of kSamplingParameter. ops/sampling defines it: it has the table of parameters.
std::string describe_sampling_parameter(const Fault& fault);

}  // namespace stagegate::cuda

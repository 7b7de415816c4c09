#include "ops/attention/faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  const auto place = static_cast<std::int64_t>(f.value);
  switch (static_cast<AttentionFault>(f.code)) {
    case AttentionFault::kBlock:
      return message("paged_attention: block_tables[", f.b, ", ", place, "] = ", f.a,
                     " is outside a cache of ", f.c, " blocks");
    case AttentionFault::kTableTooShort:
      return message("paged_attention: sequence ", f.b, " has ", f.a, " tokens, its table of ",
                     place, " blocks holds ", f.c);
    case AttentionFault::kQueries:
      return message("paged_attention: sequence ", f.b, " of ", f.c, " tokens cannot have ", f.a,
                     " queries");
    case AttentionFault::kQueryRange:
      return message("paged_attention: cu_seqlens_q must run from 0 to ", f.c, ", got ", f.a,
                     " to ", f.b);
    case AttentionFault::kUsedSlot:
      return message("self_attention_paged: used_slots[", f.b, "] = ", f.a,
                     " is outside a cache of ", f.c, " slots");
    case AttentionFault::kUsedSlotOrder:
      return message("self_attention_paged: used_slots[", f.b, "] = ", f.a, " does not ascend");
    case AttentionFault::kRowPtrRange:
      return message("self_attention_paged: row_ptr must run from 0 to ", f.c, ", got ", f.a,
                     " to ", f.b);
    case AttentionFault::kRowPtr:
      return message("self_attention_paged: row_ptr[", f.b, "] = ", f.a,
                     " is less than the entry before it");
    case AttentionFault::kColIdx:
      return message("self_attention_paged: col_idx[", place, "] = ", f.a, " of query ", f.b,
                     " does not ascend or is outside ", f.c, " used slots");
  }
  return "attention: a fault it has no name for";
}

const FaultSentences entered(first_fault("attention"), &sentence);

}  // namespace

}  // namespace stagegate

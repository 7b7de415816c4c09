#include "device/cuda/fault.h"

#include "core/check.h"

namespace stagegate::cuda {

std::string describe(const Fault& f) {
  const auto place = static_cast<std::int64_t>(f.value);
  const auto list = [&](const char* name) {
    return message("sample: ", name, "_ptr of row ", f.a, " runs from ", f.b, " to ", f.c,
                   " in a list of ", static_cast<std::int64_t>(f.value));
  };
  const auto token = [&](const char* name) {
    return message("sample: ", name, " of row ", f.b, " names token ", f.a, " of a vocabulary of ",
                   f.c);
  };
  switch (f.kind) {
    case FaultKind::kNone:
      break;
    case FaultKind::kDrawnRow:
      return message("fill_drawn: row ", f.a, " of token ", f.b, " is outside ", f.c,
                     " drawn tokens");
    case FaultKind::kEmbeddingId:
      return message("embedding: id ", f.a, " at position ", f.b, " is outside a table of ", f.c,
                     " rows");
    case FaultKind::kRopePosition:
      return message("rope: position ", f.a, " of token ", f.b, " is outside a table of ", f.c);
    case FaultKind::kKvSlot:
      return message("kv_write: slot ", f.a, " of token ", f.b, " is outside a cache of ", f.c,
                     " slots");
    case FaultKind::kBlock:
      return message("paged_attention: block_tables[", f.b, ", ", place, "] = ", f.a,
                     " is outside a cache of ", f.c, " blocks");
    case FaultKind::kTableTooShort:
      return message("paged_attention: sequence ", f.b, " has ", f.a, " tokens, its table of ",
                     place, " blocks holds ", f.c);
    case FaultKind::kQueries:
      return message("paged_attention: sequence ", f.b, " of ", f.c, " tokens cannot have ", f.a,
                     " queries");
    case FaultKind::kQueryRange:
      return message("paged_attention: cu_seqlens_q must run from 0 to ", f.c, ", got ", f.a,
                     " to ", f.b);
    case FaultKind::kUsedSlot:
      return message("self_attention_paged: used_slots[", f.b, "] = ", f.a,
                     " is outside a cache of ", f.c, " slots");
    case FaultKind::kUsedSlotOrder:
      return message("self_attention_paged: used_slots[", f.b, "] = ", f.a, " does not ascend");
    case FaultKind::kRowPtrRange:
      return message("self_attention_paged: row_ptr must run from 0 to ", f.c, ", got ", f.a,
                     " to ", f.b);
    case FaultKind::kRowPtr:
      return message("self_attention_paged: row_ptr[", f.b, "] = ", f.a,
                     " is less than the entry before it");
    case FaultKind::kColIdx:
      return message("self_attention_paged: col_idx[", place, "] = ", f.a, " of query ", f.b,
                     " does not ascend or is outside ", f.c, " used slots");
    case FaultKind::kSamplingParameter:
      return describe_sampling_parameter(f);
    case FaultKind::kHistoryPtr:
      return list("history");
    case FaultKind::kHistoryId:
      return token("history_ids");
    case FaultKind::kBiasPtr:
      return list("bias");
    case FaultKind::kBiasId:
      return token("bias_ids");
    case FaultKind::kBiasValue:
      return message("sample: bias_values of row ", f.a, " must be finite or -inf, got ", f.value);
    case FaultKind::kMaskIndex:
      return message("sample: mask_index of row ", f.b, " is ", f.a, ", mask_bits has ", f.c,
                     " rows");
    case FaultKind::kNoFiniteLogit:
      return message("sample: row ", f.a, " has no finite logit");
    case FaultKind::kInfiniteLogit:
      return message("sample: row ", f.a, " has an infinite logit for token ", f.b);
    case FaultKind::kNanLogit:
      return message("sample: row ", f.a, " has a logit of NaN for token ", f.b,
                     "; the weights or their dtype are at fault");
  }
  return "a kernel reported a fault it has no name for";
}

}  // namespace stagegate::cuda

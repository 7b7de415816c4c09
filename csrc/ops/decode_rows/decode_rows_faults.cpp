#include "ops/decode_rows/decode_rows_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<DecodeRowsFault>(f.code)) {
    case DecodeRowsFault::kRow:
      return message("decode_rows: rows[", f.b, "] = ", f.a, " is outside ", f.c, " rows");
    case DecodeRowsFault::kBlockRow:
      return message("decode_rows: block_rows[", f.b, "] = ", f.a, " is outside ", f.c, " rows");
    case DecodeRowsFault::kBlockIndex:
      return message("decode_rows: block_indices[", f.b, "] = ", f.a, " is outside a table of ",
                     f.c, " blocks");
    case DecodeRowsFault::kTokenPtr:
      return message("decode_rows: token_ptr[", f.b, "] runs from ", f.a, " to ", f.c,
                     " in a list of ", static_cast<std::int64_t>(f.value), " tokens");
    case DecodeRowsFault::kTokens:
      return message("decode_rows: rows[", f.b, "] has ", f.a, " tokens, a row holds ", f.c);
    case DecodeRowsFault::kTableFull:
      return message("decode_rows: sequence ", f.b, " has ", f.a, " tokens, its table of ",
                     static_cast<std::int64_t>(f.value), " blocks holds ", f.c);
  }
  return "decode_rows: a fault it has no name for";
}

const FaultSentences entered(first_fault("decode_rows"), &sentence);

}  // namespace

}  // namespace stagegate

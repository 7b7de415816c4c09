#include "ops/sampling/sampling_faults.h"

#include "core/check.h"
#include "ops/sampling/parameters.h"

namespace stagegate {

namespace {

std::string token(const char* name, const Fault& f) {
  return message("sample: ", name, " of row ", f.b, " names token ", f.a, " of a vocabulary of ",
                 f.c);
}

std::string parameter(const Fault& f) {
  const SamplingParameter& found = kSamplingParameters[f.b];
  return message("sample: ", found.name, " of row ", f.a, " must be ", found.range, ", got ",
                 f.value);
}

std::string sentence(const Fault& f) {
  switch (static_cast<SamplingFault>(f.code)) {
    case SamplingFault::kParameter:
      return parameter(f);
    case SamplingFault::kHistoryRow:
      return message("sample: history_rows of row ", f.b, " is ", f.a, ", history_tokens has ", f.c,
                     " lists");
    case SamplingFault::kHistoryLen:
      return message("sample: history_lens of row ", f.b, " is ", f.a, ", a list holds ", f.c,
                     " tokens");
    case SamplingFault::kHistoryToken:
      return token("history_tokens", f);
    case SamplingFault::kBiasPtr:
      return message("sample: bias_ptr of row ", f.a, " runs from ", f.b, " to ", f.c,
                     " in a list of ", static_cast<std::int64_t>(f.value));
    case SamplingFault::kBiasId:
      return token("bias_ids", f);
    case SamplingFault::kBiasValue:
      return message("sample: bias_values of row ", f.a, " must be finite or -inf, got ", f.value);
    case SamplingFault::kMaskIndex:
      return message("sample: mask_index of row ", f.b, " is ", f.a, ", mask_bits has ", f.c,
                     " rows");
    case SamplingFault::kNoFiniteLogit:
      return message("sample: row ", f.a, " has no finite logit");
    case SamplingFault::kInfiniteLogit:
      return message("sample: row ", f.a, " has an infinite logit for token ", f.b);
    case SamplingFault::kNanLogit:
      return message("sample: row ", f.a, " has a logit of NaN for token ", f.b,
                     "; the weights or their dtype are at fault");
  }
  return "sample: a fault it has no name for";
}

const FaultSentences entered(first_fault("sample"), &sentence);

}  // namespace

}  // namespace stagegate

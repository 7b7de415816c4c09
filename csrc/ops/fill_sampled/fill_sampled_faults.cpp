#include "ops/fill_sampled/fill_sampled_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<FillSampledFault>(f.code)) {
    case FillSampledFault::kRow:
      return message("fill_sampled: row ", f.a, " of token ", f.b, " is outside ", f.c, " rows");
  }
  return "fill_sampled: a fault it has no name for";
}

const FaultSentences entered(first_fault("fill_sampled"), &sentence);

}  // namespace

}  // namespace stagegate

#include "ops/fill_drawn/fill_drawn_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<FillDrawnFault>(f.code)) {
    case FillDrawnFault::kRow:
      return message("fill_drawn: row ", f.a, " of token ", f.b, " is outside ", f.c,
                     " drawn tokens");
  }
  return "fill_drawn: a fault it has no name for";
}

const FaultSentences entered(first_fault("fill_drawn"), &sentence);

}  // namespace

}  // namespace stagegate

#include "ops/rope/rope_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<RopeFault>(f.code)) {
    case RopeFault::kPosition:
      return message("rope: position ", f.a, " of token ", f.b, " is outside a table of ", f.c);
  }
  return "rope: a fault it has no name for";
}

const FaultSentences entered(first_fault("rope"), &sentence);

}  // namespace

}  // namespace stagegate

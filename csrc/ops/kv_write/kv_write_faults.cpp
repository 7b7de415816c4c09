#include "ops/kv_write/kv_write_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<KvWriteFault>(f.code)) {
    case KvWriteFault::kSlot:
      return message("kv_write: slot ", f.a, " of token ", f.b, " is outside a cache of ", f.c,
                     " slots");
  }
  return "kv_write: a fault it has no name for";
}

const FaultSentences entered(first_fault("kv_write"), &sentence);

}  // namespace

}  // namespace stagegate

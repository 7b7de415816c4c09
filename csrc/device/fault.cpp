#include "device/fault.h"

#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/check.h"

namespace stagegate {

namespace {

// By what the codes of an operator have in common. Written while the library is loaded, read
// afterwards.
using Sentences = std::map<FaultCode, std::string (*)(const Fault&)>;

Sentences& sentences() {
  static Sentences entered;
  return entered;
}

FaultCode operator_of(FaultCode code) { return code >> 8; }

}  // namespace

FaultSentences::FaultSentences(FaultCode first, std::string (*sentence)(const Fault& fault)) {
  if (sentences().emplace(operator_of(first), sentence).second) return;
  std::fprintf(stderr, "FaultSentences: two operators have fault code %d\n",
               static_cast<int>(first));
  std::abort();
}

std::string describe(const Fault& fault) {
  const auto found = sentences().find(operator_of(fault.code));
  if (found != sentences().end()) return found->second(fault);
  return message("a kernel reported fault ", fault.code, ", which no operator has a name for");
}

}  // namespace stagegate

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stagegate {

// Faults: values of an operand that are wrong, which only running finds. On the CPU an operator
// throws. A GPU kernel cannot throw, so it records the first fault in device memory and skips the
// element; the call that waits for the result throws. In both cases the operator has the message,
// in <op>_faults.cpp; this file knows only numbers.
using FaultCode = std::int32_t;

struct Fault {
  FaultCode code;  // 0: none
  std::int64_t a, b, c;
  double value;
};

// The first of the 255 codes of an operator, made of its name (FNV-1a).
constexpr FaultCode first_fault(std::string_view op) {
  std::uint32_t hash = 2166136261u;
  for (const char letter : op) hash = (hash ^ static_cast<unsigned char>(letter)) * 16777619u;
  return static_cast<FaultCode>((hash & 0x7fffffu) << 8 | 1u);
}

// code: of the enum of an operator. What the numbers are is written there.
template <typename Code>
Fault make_fault(Code code, std::int64_t a, std::int64_t b = 0, std::int64_t c = 0,
                 double value = 0.0) {
  return {static_cast<FaultCode>(code), a, b, c, value};
}

// The sentence a caller reads.
std::string describe(const Fault& fault);

// Enters the sentences of one operator; a constant of namespace scope in its <op>_faults.cpp. The
// process ends when two operators have the same codes.
class FaultSentences {
 public:
  // sentence: of a fault with one of the codes from `first` on.
  FaultSentences(FaultCode first, std::string (*sentence)(const Fault& fault));
};

}  // namespace stagegate

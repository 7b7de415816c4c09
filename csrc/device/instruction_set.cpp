#include "device/instruction_set.h"

#include <array>

#include "core/check.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stagegate {

namespace {

constexpr std::array<const char*, 4> kNames = {"portable", "avx2", "avx512", "amx"};

// Linux saves the tiles of a process from when it asks for them, and may refuse: in a sandbox, or
// where a thread has an alternate signal stack that is too small for them.
bool amx_permitted() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned kBf16AndTiles = (1u << 22) | (1u << 24);
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
         (edx & kBf16AndTiles) == kBf16AndTiles &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

InstructionSet detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16")) {
    return amx_permitted() ? InstructionSet::kAmx : InstructionSet::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return InstructionSet::kAvx2;
  }
#endif
  return InstructionSet::kPortable;
}

}  // namespace

const char* instruction_set_name(InstructionSet instruction_set) {
  return kNames[static_cast<std::size_t>(instruction_set)];
}

InstructionSet instruction_set_from_name(const std::string& name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<InstructionSet>(i);
  }
  throw ArgumentError(message(
      "context: instruction_set must be portable, avx2, avx512 or amx, got \"", name, "\""));
}

InstructionSet best_instruction_set() {
  static const InstructionSet best = detect();
  return best;
}

}  // namespace stagegate

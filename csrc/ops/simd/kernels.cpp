#include "ops/simd/kernels.h"

namespace stagegate::simd {

const Kernels& kernels(InstructionSet instruction_set) {
#if defined(__x86_64__)
  switch (instruction_set) {
    case InstructionSet::kAmx:
      return amx_kernels;
    case InstructionSet::kAvx512:
      return avx512_kernels;
    case InstructionSet::kAvx2:
      return avx2_kernels;
    case InstructionSet::kPortable:
      break;
  }
#endif
  return portable_kernels;
}

}  // namespace stagegate::simd

#pragma once

#include "device/instruction_set.h"

// The inner CPU kernels of an operator are compiled once per instruction set and chosen by the
// context, so one build serves every machine. An operator enters the registry by two files: a
// struct of function pointers, and <op>/kernels/<op>_isa.cpp, which fills it from code that is
// written with ops/simd/vector.h. CMake compiles that file once for each instruction set, with
// STAGEGATE_INSTRUCTION_SET as the name of the set.
namespace stagegate::simd {

// The kernels of one operator under one instruction set; <op>_isa.cpp defines it. Constant: nothing
// compiled for a wide instruction set runs before it is chosen.
template <typename Kernels, InstructionSet kSet>
struct Variant {
  static const Kernels kernels;
};

#ifdef STAGEGATE_INSTRUCTION_SET
// The variant that an <op>_isa.cpp defines.
template <typename Kernels>
using CompiledVariant = Variant<Kernels, InstructionSet::STAGEGATE_INSTRUCTION_SET>;
#else
template <typename Kernels>
const Kernels& kernels(InstructionSet instruction_set) {
#if defined(__x86_64__)
  switch (instruction_set) {
    case InstructionSet::kAmx:
      return Variant<Kernels, InstructionSet::kAmx>::kernels;
    case InstructionSet::kAvx512:
      return Variant<Kernels, InstructionSet::kAvx512>::kernels;
    case InstructionSet::kAvx2:
      return Variant<Kernels, InstructionSet::kAvx2>::kernels;
    case InstructionSet::kPortable:
      break;
  }
#else
  static_cast<void>(instruction_set);
#endif
  return Variant<Kernels, InstructionSet::kPortable>::kernels;
}
#endif

}  // namespace stagegate::simd

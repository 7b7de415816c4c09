#pragma once

#include <string>

namespace stagegate {

// What the CPU kernels are compiled for, in ascending order: a processor that runs one of them runs
// those before it.
enum class InstructionSet {
  kPortable,
  kAvx2,    // AVX2, FMA, F16C
  kAvx512,  // AVX-512 F, BW, VL and BF16
  kAmx,     // the same, and AMX with BF16
};

const char* instruction_set_name(InstructionSet instruction_set);

// Throws ArgumentError for an unknown name.
InstructionSet instruction_set_from_name(const std::string& name);

// The last that this processor runs and the operating system lets this process use.
InstructionSet best_instruction_set();

}  // namespace stagegate

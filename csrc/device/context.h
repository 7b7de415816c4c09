#pragma once

#include <memory>

#include "core/device.h"
#include "device/instruction_set.h"

namespace stagegate {

namespace cuda {
class Stream;
}

// Whose kernels compute attention over block tables on a GPU.
enum class AttentionBackend { kNative, kFlashInfer };

// What computes the blocks of a layer that multiply by a weight: the fastest form that takes a
// call, a fused kernel where there is one, or always the primitive operators one by one.
enum class LinearBackend { kAuto, kComposed };

// Where and how a call executes. Passed to every operator, so nothing depends on process-wide
// state.
struct Context {
  Device device;
  // OpenMP threads of the CPU operators.
  int num_threads = 1;
  // The result of a row does not depend on how many rows share the call: one summation order for
  // every batch size. Costs prefill speed.
  bool deterministic = false;
  AttentionBackend attention = AttentionBackend::kNative;
  LinearBackend linear = LinearBackend::kAuto;
  // What the CPU kernels may use.
  InstructionSet instruction_set = InstructionSet::kPortable;
  // On a CUDA device: where the kernels are queued, with the memory and handles they share. Null on
  // the CPU.
  std::shared_ptr<cuda::Stream> stream;
};

// A context for a device. Throws DeviceError if this build or machine lacks the device, the
// instruction set, or FlashInfer when attention asks for it. Throws ArgumentError for FlashInfer in
// deterministic mode: how it splits the keys of a sequence depends on the other sequences.
Context make_context(Device device, int num_threads, bool deterministic, AttentionBackend attention,
                     LinearBackend linear, InstructionSet instruction_set);

// Waits for what was queued. Throws ArgumentError for an operand that a kernel found wrong (the CPU
// reports it at the call), DeviceError when the device failed.
void synchronize(const Context& context);

}  // namespace stagegate

#pragma once

#include <memory>

#include "core/device.h"

namespace stagegate {

namespace cuda {
class Stream;
}

// Where and how a call executes. Passed to every operator, so nothing depends on process-wide
// state.
struct Context {
  Device device;
  // OpenMP threads of the CPU operators.
  int num_threads = 1;
  // The result of a row does not depend on how many rows share the call: one summation order for
  // every batch size. Costs prefill speed.
  bool deterministic = false;
  // On a CUDA device: where the kernels are queued, with the memory and handles they share. Null on
  // the CPU.
  std::shared_ptr<cuda::Stream> stream;
};

// A context for a device. Throws DeviceError when this build or machine does not have it.
Context make_context(Device device, int num_threads, bool deterministic);

// Waits for what was queued. Throws ArgumentError for an operand that a kernel found wrong (the CPU
// reports it at the call), DeviceError when the device failed.
void synchronize(const Context& context);

}  // namespace stagegate

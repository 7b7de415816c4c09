#pragma once

#include "core/device.h"

namespace stagegate {

// Where and how a call executes. Passed to every operator, so nothing depends on process-wide
// state.
struct Context {
  Device device;
  // OpenMP threads of the CPU operators.
  int num_threads = 1;
  // The result of a row does not depend on how many rows share the call: one summation order for
  // every batch size. Costs prefill speed.
  bool deterministic = false;
};

}  // namespace stagegate

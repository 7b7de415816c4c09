#pragma once

#include "device/fault.h"

namespace stagegate {

// What fill_sampled finds wrong with values.
enum class FillSampledFault : FaultCode {
  kRow = first_fault("fill_sampled"),  // a = row, b = token, c = rows
};

}  // namespace stagegate

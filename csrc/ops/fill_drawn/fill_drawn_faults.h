#pragma once

#include "device/fault.h"

namespace stagegate {

// What fill_drawn finds wrong with values.
enum class FillDrawnFault : FaultCode {
  kRow = first_fault("fill_drawn"),  // a = row, b = token, c = drawn tokens
};

}  // namespace stagegate

#pragma once

#include "device/fault.h"

namespace stagegate {

// What rope finds wrong with values.
enum class RopeFault : FaultCode {
  kPosition = first_fault("rope"),  // a = position, b = token, c = length of the table
};

}  // namespace stagegate

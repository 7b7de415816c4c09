#pragma once

#include "device/fault.h"

namespace stagegate {

// What embedding finds wrong with values.
enum class EmbeddingFault : FaultCode {
  kId = first_fault("embedding"),  // a = id, b = position, c = rows of the table
};

}  // namespace stagegate

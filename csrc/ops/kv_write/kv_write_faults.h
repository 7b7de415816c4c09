#pragma once

#include "device/fault.h"

namespace stagegate {

// What kv_write finds wrong with values.
enum class KvWriteFault : FaultCode {
  kSlot = first_fault("kv_write"),  // a = slot, b = token, c = slots of the cache
};

}  // namespace stagegate

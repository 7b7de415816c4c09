#pragma once

#include "device/fault.h"

namespace stagegate {

// What sample finds wrong with values.
enum class SamplingFault : FaultCode {
  kParameter = first_fault("sample"),  // a = row, b = its place in kSamplingParameters, value
  kHistoryRow,                         // a = list, b = row, c = lists there are
  kHistoryLen,                         // a = tokens, b = row, c = tokens a list holds
  kHistoryToken,                       // a = id, b = row, c = vocabulary
  kBiasPtr,                            // a = row, b = first, c = last, value = size of the list
  kBiasId,                             // a = id, b = row, c = vocabulary
  kBiasValue,                          // a = row, value
  kMaskIndex,                          // a = index, b = row, c = rows of mask_bits
  kNoFiniteLogit,                      // a = row
  kInfiniteLogit,                      // a = row, b = token
  kNanLogit,                           // a = row, b = token
};

}  // namespace stagegate

#include "ops/sampling/parameters.h"

#include "core/check.h"
#include "device/cuda/fault.h"

namespace stagegate {

std::string invalid_sampling_parameter(std::size_t index, std::int64_t row, double value) {
  const SamplingParameter& parameter = kSamplingParameters[index];
  return message("sample: ", parameter.name, " of row ", row, " must be ", parameter.range,
                 ", got ", value);
}

std::string cuda::describe_sampling_parameter(const Fault& fault) {
  return invalid_sampling_parameter(static_cast<std::size_t>(fault.b), fault.a, fault.value);
}

}  // namespace stagegate

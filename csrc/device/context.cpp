#include "device/context.h"

#include "core/check.h"
#include "device/cuda/runtime.h"

namespace stagegate {

Context make_context(Device device, int num_threads, bool deterministic) {
  Context context{device, num_threads, deterministic, nullptr};
  if (device.is_cpu()) return context;
  if constexpr (cuda::kEnabled) {
    context.stream = cuda::make_stream(device.index);
    return context;
  }
  throw DeviceError(message("context: this build has no ", device.name(),
                            "; build with CUDA (nox -s build-cuda)"));
}

void synchronize(const Context& context) {
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda()) cuda::synchronize(*context.stream);
  }
}

}  // namespace stagegate

#include "device/context.h"

#include "core/check.h"
#include "device/cuda/runtime.h"

namespace stagegate {

Context make_context(Device device, int num_threads, bool deterministic, AttentionBackend attention,
                     LinearBackend linear, InstructionSet instruction_set) {
  const InstructionSet best = best_instruction_set();
  SG_CHECK(DeviceError, instruction_set <= best, "context: this process cannot use ",
           instruction_set_name(instruction_set), "; the best instruction_set here is ",
           instruction_set_name(best));
  if (attention == AttentionBackend::kFlashInfer) {
    constexpr const char* kFix = "; use attention=\"native\"";
    SG_CHECK(DeviceError, device.is_cuda(),
             "context: attention=\"flashinfer\" is for a GPU, not for ", device.name(), kFix);
    SG_CHECK(DeviceError, cuda::kFlashInferEnabled,
             "context: this build has no FlashInfer; build with it "
             "(nox -s build-cuda -- --flashinfer)",
             kFix);
    SG_CHECK(ArgumentError, !deterministic,
             "context: deterministic=True with attention=\"flashinfer\", whose sums depend on the "
             "other sequences of a batch",
             kFix);
  }
  Context context{device, num_threads, deterministic, attention, linear, instruction_set, nullptr};
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

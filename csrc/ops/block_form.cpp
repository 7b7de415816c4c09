#include "ops/block_form.h"

namespace stagegate {

std::uint32_t block_alignment(std::initializer_list<const Tensor*> tensors) {
  std::uintptr_t bits = kBlockAlignment;
  for (const Tensor* tensor : tensors) {
    if (tensor->defined()) bits |= reinterpret_cast<std::uintptr_t>(tensor->raw_data());
  }
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

BlockProblem describe_block(const Context& context, const Tensor& activations, const Tensor& weight,
                            std::uint32_t alignment) {
  BlockProblem problem{.device = context.device.type,
                       .capability = 0,
                       .multiprocessors = 0,
                       .backend = context.linear,
                       .deterministic = context.deterministic,
                       .dtype = activations.dtype(),
                       .rows = activations.dim(0),
                       .width = weight.dim(0),
                       .depth = weight.dim(1),
                       .head_dim = 0,
                       .has_head_norms = false,
                       .alignment = alignment};
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda()) {
      problem.capability = cuda::compute_capability(*context.stream);
      problem.multiprocessors = cuda::num_multiprocessors(*context.stream);
    }
  }
  return problem;
}

bool takes(const FormTraits& form, const BlockProblem& problem) {
  if (problem.device != DeviceType::kCUDA) return false;
  if (problem.backend == LinearBackend::kComposed) return false;
  if (problem.capability != form.capability) return false;
  if ((form.dtypes & dtype_bit(problem.dtype)) == 0) return false;
  if (problem.rows < form.least_rows || problem.rows > form.most_rows) return false;
  if (problem.deterministic && !form.deterministic) return false;
  return form.fits(problem);
}

}  // namespace stagegate

#include "ops/sampling/sampling.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"

namespace stagegate {

namespace cpu {
void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs);
}
namespace cuda {
void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs);
}

namespace {

constexpr const char* kOp = "sample";

void check(const Context& context, std::string_view name, const Tensor& tensor, const Shape& shape,
           DType dtype) {
  SG_CHECK(ArgumentError, tensor.defined(), "sample: ", name, " is missing");
  checks::shape(kOp, name, tensor, shape);
  checks::dtype(kOp, name, tensor, dtype);
  checks::dense(kOp, context, {{name, &tensor}});
}

void check_inputs(const Context& context, const SamplingInputs& in, std::int64_t rows,
                  std::int64_t vocab) {
  for (const SamplingColumn& column : kSamplingColumns) {
    check(context, column.name, in.*column.tensor, {rows}, column.dtype);
  }
  check(context, "bias_ptr", in.bias_ptr, {rows + 1}, DType::kI32);
  check(context, "bias_ids", in.bias_ids, {-1}, DType::kI32);
  check(context, "bias_values", in.bias_values, in.bias_ids.shape(), DType::kF32);
  if (in.history_tokens.defined()) {
    check(context, "history_tokens", in.history_tokens, {-1, -1}, DType::kI32);
    check(context, "history_prompts", in.history_prompts, {in.history_tokens.dim(0)}, DType::kI32);
    check(context, "history_rows", in.history_rows, {rows}, DType::kI32);
    check(context, "history_lens", in.history_lens, {rows}, DType::kI32);
  }
  if (in.mask_bits.defined()) {
    check(context, "mask_index", in.mask_index, {rows}, DType::kI32);
    check(context, "mask_bits", in.mask_bits, {-1, (vocab + 31) / 32}, DType::kI32);
  }
}

}  // namespace

void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs) {
  check(context, "logits", logits, {-1, -1}, DType::kF32);
  const std::int64_t rows = logits.dim(0);
  SG_CHECK(ShapeError, logits.dim(1) > 0, "sample: logits have no columns: ", logits.describe());
  check_inputs(context, inputs, rows, logits.dim(1));
  check(context, "token_ids", outputs.token_ids, {rows}, DType::kI32);
  if (outputs.logprobs.defined()) {
    check(context, "logprobs", outputs.logprobs, {rows}, DType::kF32);
    check(context, "top_ids", outputs.top_ids, {rows, -1}, DType::kI32);
    check(context, "top_logprobs", outputs.top_logprobs, outputs.top_ids.shape(), DType::kF32);
    SG_CHECK(ShapeError, outputs.top_ids.dim(1) <= logits.dim(1), "sample: top_ids wants ",
             outputs.top_ids.dim(1), " of ", logits.dim(1), " tokens");
  }
  const Dispatch dispatch(kOp, context.device);
  if (context.device.is_cpu()) return cpu::sample(context, logits, inputs, outputs);
  if constexpr (cuda::kEnabled) return cuda::sample(context, logits, inputs, outputs);
  checks::no_kernel(kOp, context);
}

}  // namespace stagegate

#include "ops/attention_input/attention_input.h"

#include "device/range.h"
#include "ops/attention_input/forms.h"
#include "ops/checks.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope_kv_write/rope_kv_write.h"

namespace stagegate {

namespace {

constexpr const char* kOp = "attention_input";

void check_weights(const Context& context, const AttentionInputWeights& weights, const Tensor& qkv,
                   std::int64_t hidden) {
  const DType dtype = qkv.dtype();
  checks::linear_weight(kOp, {"qkv_weight", "qkv_bias"}, context, weights.qkv,
                        qkv.dim(1) * qkv.dim(2), hidden, dtype);
  if (!weights.norm.defined()) return;
  checks::shape(kOp, "norm", weights.norm, {hidden});
  checks::dtype(kOp, "norm", weights.norm, dtype);
  checks::dense(kOp, context, {{"norm", &weights.norm}});
}

}  // namespace

void attention_input(const Context& context, const Tensor& residual,
                     const AttentionInputWeights& weights, float eps, const Tensor& positions,
                     const RopeTable& rope_table, const Tensor& slot_mapping, const KvLayer& kv,
                     const Tensor& normed, const Tensor& qkv) {
  checks::shape(kOp, "residual", residual, {-1, -1});
  checks::floating(kOp, "residual", residual);
  checks::shape(kOp, "normed", normed, residual.shape());
  checks::dtype(kOp, "normed", normed, residual.dtype());
  checks::shape(kOp, "qkv", qkv, {residual.dim(0), -1, -1});
  checks::dtype(kOp, "qkv", qkv, residual.dtype());
  checks::dense(kOp, context, {{"residual", &residual}, {"normed", &normed}, {"qkv", &qkv}});
  const HeadNorms norms{.q = weights.q_norm, .k = weights.k_norm, .eps = eps};
  checks::rope_kv_write(kOp, context, qkv, norms, positions, rope_table, slot_mapping, kv);
  check_weights(context, weights, qkv, residual.dim(1));

  const AttentionInputCall call{residual,     weights, eps,    positions, rope_table,
                                slot_mapping, kv,      normed, qkv};
  if (weights.norm.defined() &&
      run_form(kOp, context, attention_input_forms(), describe(context, call), call)) {
    return;
  }
  const Range range(kOp);
  if (weights.norm.defined()) rms_norm(context, residual, weights.norm, eps, normed);
  linear(context, normed, weights.qkv.data, weights.qkv.bias,
         qkv.view({qkv.dim(0), qkv.dim(1) * qkv.dim(2)}));
  rope_kv_write(context, qkv, norms, positions, rope_table, slot_mapping, kv);
}

}  // namespace stagegate

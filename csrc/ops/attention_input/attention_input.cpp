#include "ops/attention_input/attention_input.h"

#include "device/range.h"
#include "ops/attention_input/forms.h"
#include "ops/checks.h"
#include "ops/kv_write/kv_write.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"

namespace stagegate {

namespace {

constexpr const char* kOp = "attention_input";

void check_weights(const Context& context, const AttentionInputWeights& weights, const Tensor& qkv,
                   std::int64_t hidden) {
  const DType dtype = qkv.dtype();
  checks::shape(kOp, "norm", weights.norm, {hidden});
  checks::dtype(kOp, "norm", weights.norm, dtype);
  checks::dense(kOp, context, {{"norm", &weights.norm}});
  checks::linear_weight(kOp, {"qkv_weight", "qkv_bias"}, context, weights.qkv,
                        qkv.dim(1) * qkv.dim(2), hidden, dtype);
  if (!weights.q_norm.defined() && !weights.k_norm.defined()) return;
  for (const auto& [name, norm] :
       {std::pair{"q_norm", &weights.q_norm}, std::pair{"k_norm", &weights.k_norm}}) {
    checks::shape(kOp, name, *norm, {qkv.dim(2)});
    checks::dtype(kOp, name, *norm, dtype);
    checks::dense(kOp, context, {{name, norm}});
  }
}

void check_cache(const Context& context, const Tensor& slot_mapping, const KvLayer& kv,
                 const Tensor& qkv) {
  checks::shape(kOp, "k_cache", kv.keys, {-1, -1, qkv.dim(2)});
  const std::int64_t kv_heads = kv.keys.dim(1);
  const std::int64_t heads = qkv.dim(1) - 2 * kv_heads;
  SG_CHECK(ShapeError, kv_heads > 0 && heads > 0 && heads % kv_heads == 0, kOp,
           ": k_cache must have a number of heads that divides the ", heads,
           " query heads it leaves of ", qkv.describe(), ", got ", kv.keys.describe());
  checks::shape(kOp, "v_cache", kv.values, kv.keys.shape());
  checks::shape(kOp, "slot_mapping", slot_mapping, {qkv.dim(0)});
  checks::dtype(kOp, "k_cache", kv.keys, qkv.dtype());
  checks::dtype(kOp, "v_cache", kv.values, qkv.dtype());
  checks::dtype(kOp, "slot_mapping", slot_mapping, DType::kI32);
  checks::dense(kOp, context,
                {{"slot_mapping", &slot_mapping}, {"k_cache", &kv.keys}, {"v_cache", &kv.values}});
  checks::unscaled(kOp, "k_cache", kv.key_scale);
  checks::unscaled(kOp, "v_cache", kv.value_scale);
}

void check_rotation(const Context& context, const Tensor& positions, const RopeTable& rope,
                    const Tensor& qkv) {
  SG_CHECK(ShapeError, qkv.dim(2) % 2 == 0, kOp, ": head_dim of qkv must be even, got ",
           qkv.describe());
  checks::shape(kOp, "positions", positions, {qkv.dim(0)});
  checks::shape(kOp, "cos", rope.cos, {-1, qkv.dim(2) / 2});
  checks::shape(kOp, "sin", rope.sin, rope.cos.shape());
  checks::dtype(kOp, "positions", positions, DType::kI32);
  checks::dtype(kOp, "cos", rope.cos, DType::kF32);
  checks::dtype(kOp, "sin", rope.sin, DType::kF32);
  checks::dense(kOp, context, {{"positions", &positions}, {"cos", &rope.cos}, {"sin", &rope.sin}});
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
  check_rotation(context, positions, rope_table, qkv);
  check_cache(context, slot_mapping, kv, qkv);
  check_weights(context, weights, qkv, residual.dim(1));

  const AttentionInputCall call{residual,     weights, eps,    positions, rope_table,
                                slot_mapping, kv,      normed, qkv};
  if (run_form(kOp, context, attention_input_forms(), describe(context, call), call)) return;
  const Range range(kOp);
  const std::int64_t kv_heads = kv.keys.dim(1);
  const std::int64_t heads = qkv.dim(1) - 2 * kv_heads;
  const Tensor q = qkv.slice(1, 0, heads);                      // [T, heads, head_dim]
  const Tensor k = qkv.slice(1, heads, heads + kv_heads);       // [T, kv_heads, head_dim]
  const Tensor v = qkv.slice(1, heads + kv_heads, qkv.dim(1));  // [T, kv_heads, head_dim]
  rms_norm(context, residual, weights.norm, eps, normed);
  linear(context, normed, weights.qkv.data, weights.qkv.bias,
         qkv.view({qkv.dim(0), qkv.dim(1) * qkv.dim(2)}));
  if (weights.q_norm.defined()) {
    rms_norm(context, q, weights.q_norm, eps, q);
    rms_norm(context, k, weights.k_norm, eps, k);
  }
  rope(context, qkv.slice(1, 0, heads + kv_heads), positions, rope_table.cos, rope_table.sin);
  kv_write(context, k, v, slot_mapping, kv.keys, kv.values);
}

}  // namespace stagegate

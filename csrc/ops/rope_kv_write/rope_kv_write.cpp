#include "ops/rope_kv_write/rope_kv_write.h"

#include "device/cuda/runtime.h"
#include "device/ledger.h"
#include "ops/checks.h"
#include "ops/kv_write/kv_write.h"
#include "ops/rms_norm/rms_norm.h"

namespace stagegate {

namespace cuda {
// Whether one kernel does all of it for these operands.
bool rope_kv_write_takes(const Tensor& qkv, const HeadNorms& norms, const RopeTable& rope_table,
                         const KvLayer& kv);
void rope_kv_write(const Context& context, const Tensor& qkv, const HeadNorms& norms,
                   const Tensor& positions, const RopeTable& rope_table, const Tensor& slot_mapping,
                   const KvLayer& kv);
}  // namespace cuda

namespace {

constexpr const char* kOp = "rope_kv_write";

void check_norms(std::string_view op, const Context& context, const HeadNorms& norms,
                 const Tensor& qkv) {
  if (!norms.q.defined() && !norms.k.defined()) return;
  for (const auto& [name, norm] : {std::pair{"q_norm", &norms.q}, std::pair{"k_norm", &norms.k}}) {
    checks::shape(op, name, *norm, {qkv.dim(2)});
    checks::dtype(op, name, *norm, qkv.dtype());
    checks::dense(op, context, {{name, norm}});
  }
}

void check_cache(std::string_view op, const Context& context, const Tensor& slot_mapping,
                 const KvLayer& kv, const Tensor& qkv) {
  checks::shape(op, "k_cache", kv.keys, {-1, -1, qkv.dim(2)});
  const std::int64_t kv_heads = kv.keys.dim(1);
  const std::int64_t heads = qkv.dim(1) - 2 * kv_heads;
  SG_CHECK(ShapeError, kv_heads > 0 && heads > 0 && heads % kv_heads == 0, op,
           ": k_cache must have a number of heads that divides the ", heads,
           " query heads it leaves of ", qkv.describe(), ", got ", kv.keys.describe());
  checks::shape(op, "v_cache", kv.values, kv.keys.shape());
  checks::shape(op, "slot_mapping", slot_mapping, {qkv.dim(0)});
  checks::dtype(op, "k_cache", kv.keys, qkv.dtype());
  checks::dtype(op, "v_cache", kv.values, qkv.dtype());
  checks::dtype(op, "slot_mapping", slot_mapping, DType::kI32);
  checks::dense(op, context,
                {{"slot_mapping", &slot_mapping}, {"k_cache", &kv.keys}, {"v_cache", &kv.values}});
  checks::unscaled(op, "k_cache", kv.key_scale);
  checks::unscaled(op, "v_cache", kv.value_scale);
}

void check_rotation(std::string_view op, const Context& context, const Tensor& positions,
                    const RopeTable& rope, const Tensor& qkv) {
  SG_CHECK(ShapeError, qkv.dim(2) % 2 == 0, op, ": head_dim of qkv must be even, got ",
           qkv.describe());
  checks::shape(op, "positions", positions, {qkv.dim(0)});
  checks::shape(op, "cos", rope.cos, {-1, qkv.dim(2) / 2});
  checks::shape(op, "sin", rope.sin, rope.cos.shape());
  checks::dtype(op, "positions", positions, DType::kI32);
  checks::dtype(op, "cos", rope.cos, DType::kF32);
  checks::dtype(op, "sin", rope.sin, DType::kF32);
  checks::dense(op, context, {{"positions", &positions}, {"cos", &rope.cos}, {"sin", &rope.sin}});
}

}  // namespace

namespace checks {

void rope_kv_write(std::string_view op, const Context& context, const Tensor& qkv,
                   const HeadNorms& norms, const Tensor& positions, const RopeTable& rope_table,
                   const Tensor& slot_mapping, const KvLayer& kv) {
  check_rotation(op, context, positions, rope_table, qkv);
  check_cache(op, context, slot_mapping, kv, qkv);
  check_norms(op, context, norms, qkv);
}

}  // namespace checks

void rope_kv_write(const Context& context, const Tensor& qkv, const HeadNorms& norms,
                   const Tensor& positions, const RopeTable& rope_table, const Tensor& slot_mapping,
                   const KvLayer& kv) {
  checks::shape(kOp, "qkv", qkv, {-1, -1, -1});
  checks::floating(kOp, "qkv", qkv);
  checks::dense(kOp, context, {{"qkv", &qkv}});
  checks::rope_kv_write(kOp, context, qkv, norms, positions, rope_table, slot_mapping, kv);
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda() && cuda::rope_kv_write_takes(qkv, norms, rope_table, kv)) {
      const Dispatch dispatch(kOp, context.device);
      return cuda::rope_kv_write(context, qkv, norms, positions, rope_table, slot_mapping, kv);
    }
  }
  const Range range(kOp);
  const std::int64_t kv_heads = kv.keys.dim(1);
  const std::int64_t heads = qkv.dim(1) - 2 * kv_heads;
  const Tensor q = qkv.slice(1, 0, heads);                      // [T, heads, head_dim]
  const Tensor k = qkv.slice(1, heads, heads + kv_heads);       // [T, kv_heads, head_dim]
  const Tensor v = qkv.slice(1, heads + kv_heads, qkv.dim(1));  // [T, kv_heads, head_dim]
  if (norms.q.defined()) {
    rms_norm(context, q, norms.q, norms.eps, q);
    rms_norm(context, k, norms.k, norms.eps, k);
  }
  rope(context, qkv.slice(1, 0, heads + kv_heads), positions, rope_table.cos, rope_table.sin);
  kv_write(context, k, v, slot_mapping, kv.keys, kv.values);
}

}  // namespace stagegate

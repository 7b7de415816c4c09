#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/attention/call.h"
#include "ops/attention/kernels/isa.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

// The call in one of the forms. Throw ArgumentError for values of the metadata that break the
// rules.
void attend_form(const Context& context, const AttentionCall& call, const PagedForm& paged);
void attend_form(const Context& context, const AttentionCall& call, const CsrForm& csr);
void attend_form(const Context& context, const AttentionCall& call, const DenseForm& dense);

// Attention of every query over the rows of k and v that `visible` names, in that order. All forms
// come here.
//   visible(t, scratch) returns query t's rows as a span<const i32>; it may fill scratch
template <typename Visible>
void attend(const Context& context, const AttentionCall& call, Visible&& visible) {
  const Tensor& q = call.q;
  const Tensor& k = call.k;
  const Tensor& v = call.v;
  dispatch_floating("attention", q.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t heads = q.dim(1);
    const std::int64_t head_dim = q.dim(2);
    const std::int64_t kv_heads = k.dim(1);
    const std::int64_t group = heads / kv_heads;
    const auto& kernels = simd::kernels<simd::AttentionKernels>(context.instruction_set);
    // Work is (query, key head): the heads of a group share every key they read.
    parallel_for_uneven(q.dim(0) * kv_heads, context.num_threads, [&](std::int64_t item) {
      thread_local std::vector<std::int32_t> scratch;
      thread_local std::vector<float> state;
      const std::int64_t t = item / kv_heads;
      const std::int64_t kv_head = item % kv_heads;
      const std::span<const std::int32_t> rows = visible(t, scratch);

      state.assign(static_cast<std::size_t>(group * (2 * head_dim + 2)), 0.0f);
      float* scaled = state.data();             // [group, head_dim]
      float* sum = scaled + group * head_dim;   // [group, head_dim]
      float* maximum = sum + group * head_dim;  // [group]
      float* total = maximum + group;           // [group]
      const T* query = q.data<T>() + t * q.stride(0) + kv_head * group * head_dim;
      for (std::int64_t i = 0; i < group * head_dim; ++i) {
        scaled[i] = load_as_float(query[i]) * call.scale;
      }
      for (std::int64_t h = 0; h < group; ++h) {
        maximum[h] = -std::numeric_limits<float>::infinity();
      }

      const auto count = static_cast<std::int64_t>(rows.size());
      for (std::int64_t first = 0; first < count; first += simd::kMaxKeys) {
        kernels.attend(simd::AttentionBlock<T>{
            .q = scaled,
            .heads = group,
            .head_dim = head_dim,
            .k = k.data<T>() + kv_head * head_dim,
            .v = v.data<T>() + kv_head * head_dim,
            .k_stride = k.stride(0),
            .v_stride = v.stride(0),
            .slots = rows.data() + first,
            .count = std::min(simd::kMaxKeys, count - first),
            .maximum = maximum,
            .total = total,
            .sum = sum,
        });
      }

      T* result = call.out.data<T>() + (t * heads + kv_head * group) * head_dim;
      for (std::int64_t h = 0; h < group; ++h) {
        const float inverse = count > 0 ? 1.0f / total[h] : 0.0f;
        for (std::int64_t d = 0; d < head_dim; ++d) {
          store_from_float(result[h * head_dim + d], sum[h * head_dim + d] * inverse);
        }
      }
    });
  });
}

}  // namespace stagegate::cpu

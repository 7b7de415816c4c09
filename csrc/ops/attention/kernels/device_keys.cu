#include <algorithm>
#include <variant>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/device_keys.h"

namespace stagegate::cuda {

namespace {

Keys keys_of(const AttentionCall& call, const PagedForm& form) {
  Keys keys{};
  keys.kind = Keys::Kind::kPaged;
  keys.paged = {
      .block_tables = input<std::int32_t>(form.block_tables),
      .context_lens = input<std::int32_t>(form.context_lens),
      .first_query = input<std::int32_t>(form.cu_seqlens_q),
      .num_slots = call.k.dim(0),
      .sequences = static_cast<int>(form.context_lens.dim(0)),
      .queries = static_cast<int>(call.q.dim(0)),
      .width = static_cast<int>(form.block_tables.dim(1)),
      .block_size = static_cast<int>(form.block_size),
  };
  return keys;
}

Keys keys_of(const AttentionCall& call, const CsrForm& form) {
  Keys keys{};
  keys.kind = Keys::Kind::kCsr;
  keys.csr = {
      .used_slots = input<std::int32_t>(form.used_slots),
      .row_ptr = input<std::int32_t>(form.row_ptr),
      .col_idx = input<std::int32_t>(form.col_idx),
      .num_slots = call.k.dim(0),
      .queries = static_cast<int>(call.q.dim(0)),
      .used = static_cast<int>(form.used_slots.numel()),
      .entries = static_cast<int>(form.col_idx.numel()),
  };
  return keys;
}

Keys keys_of(const AttentionCall& call, const DenseForm&) {
  Keys keys{};
  keys.kind = Keys::Kind::kDense;
  keys.dense = {.before = static_cast<int>(call.k.dim(0) - call.q.dim(0))};
  return keys;
}

std::int64_t most_keys(const AttentionCall&, const PagedForm& form) {
  return form.block_tables.dim(1) * form.block_size;
}

std::int64_t most_keys(const AttentionCall&, const CsrForm& form) {
  return std::min(form.used_slots.numel() + 1, form.col_idx.numel());
}

std::int64_t most_keys(const AttentionCall& call, const DenseForm&) { return call.k.dim(0); }

}  // namespace

Keys device_keys(const AttentionCall& call) {
  return std::visit([&](const auto& form) { return keys_of(call, form); }, call.form);
}

std::int64_t max_keys(const AttentionCall& call) {
  return std::visit([&](const auto& form) { return most_keys(call, form); }, call.form);
}

}  // namespace stagegate::cuda

#pragma once

#include <cstdint>
#include <variant>

#include "core/tensor.h"

// A call of an attention operator, as its kernels get it: its operands are checked, but for the
// values in its metadata.
namespace stagegate {

// How the queries find their keys; the tensors are those of paged.h and csr.h.
struct PagedForm {
  const Tensor& block_tables;
  const Tensor& context_lens;
  const Tensor& cu_seqlens_q;
  std::int64_t block_size;
  bool in_step;  // called as paged_attention_in_step
};
struct CsrForm {
  const Tensor& used_slots;
  const Tensor& row_ptr;
  const Tensor& col_idx;
};
struct DenseForm {};

struct AttentionCall {
  const Tensor& q;  // [T, heads, head_dim]
  const Tensor& k;  // [S, kv_heads, head_dim]
  const Tensor& v;
  const Tensor& out;  // as q
  float scale;
  std::variant<PagedForm, CsrForm, DenseForm> form;
};

// Whether rows can be read and written 16 bytes at a time.
inline bool rows_aligned(const Tensor& tensor) {
  constexpr std::uintptr_t kBytes = 16;
  const auto stride = static_cast<std::uintptr_t>(tensor.stride(0)) * size_of(tensor.dtype());
  return reinterpret_cast<std::uintptr_t>(tensor.raw_data()) % kBytes == 0 && stride % kBytes == 0;
}

}  // namespace stagegate

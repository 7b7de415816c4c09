#pragma once

#include <vector>

#include "core/tensor.h"

namespace stagegate {

// The keys and values of every layer, one row per slot. Which token a slot belongs to is decided in
// Python; the storage is the same for both layouts.
class KvStorage {
 public:
  KvStorage(std::int64_t num_layers, std::int64_t num_slots, std::int64_t num_kv_heads,
            std::int64_t head_dim, DType dtype, Device device);

  const Tensor& keys(std::int64_t layer) const;    // [num_slots, num_kv_heads, head_dim]
  const Tensor& values(std::int64_t layer) const;  // [num_slots, num_kv_heads, head_dim]
  std::int64_t num_slots() const { return num_slots_; }
  std::size_t size_bytes() const;

 private:
  std::int64_t num_slots_;
  std::vector<Tensor> keys_;
  std::vector<Tensor> values_;
};

}  // namespace stagegate

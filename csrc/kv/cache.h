#pragma once

#include <vector>

#include "core/tensor.h"

namespace stagegate {

// Keys and values of one layer, a row a slot.
struct KvLayer {
  Tensor keys;    // [num_slots, num_kv_heads, head_dim]
  Tensor values;  // [num_slots, num_kv_heads, head_dim]
  // What the stored numbers are multiplied with; undefined: they are used as they are.
  Tensor key_scale;
  Tensor value_scale;
};

// The keys and values of every layer. Which token a slot belongs to is decided in Python; the cache
// is the same for both layouts.
class KvCache {
 public:
  // dtype: of what is stored, which need not be that of the activations. Throws DTypeError unless
  // it is floating.
  KvCache(std::int64_t num_layers, std::int64_t num_slots, std::int64_t num_kv_heads,
          std::int64_t head_dim, DType dtype, Device device);

  const KvLayer& layer(std::int64_t index) const {
    return layers_.at(static_cast<std::size_t>(index));
  }
  std::int64_t num_slots() const { return num_slots_; }
  DType dtype() const { return dtype_; }
  std::size_t size_bytes() const;

 private:
  std::int64_t num_slots_;
  DType dtype_;
  std::vector<KvLayer> layers_;
};

}  // namespace stagegate

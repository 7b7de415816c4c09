#include "kv/storage.h"

#include "device/memory.h"

namespace stagegate {

KvStorage::KvStorage(std::int64_t num_layers, std::int64_t num_slots, std::int64_t num_kv_heads,
                     std::int64_t head_dim, DType dtype, Device device)
    : num_slots_(num_slots) {
  SG_CHECK(ArgumentError, num_slots > 0, "KV storage: needs at least one slot, got ", num_slots);
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    keys_.push_back(empty({num_slots, num_kv_heads, head_dim}, dtype, device));
    values_.push_back(empty({num_slots, num_kv_heads, head_dim}, dtype, device));
  }
}

const Tensor& KvStorage::keys(std::int64_t layer) const {
  return keys_.at(static_cast<std::size_t>(layer));
}

const Tensor& KvStorage::values(std::int64_t layer) const {
  return values_.at(static_cast<std::size_t>(layer));
}

std::size_t KvStorage::size_bytes() const {
  std::size_t total = 0;
  for (const Tensor& tensor : keys_) total += 2 * tensor.size_bytes();
  return total;
}

}  // namespace stagegate

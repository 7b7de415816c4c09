#include "ops/attention_input/forms.h"
#include "ops/kv_write/kv_write_faults.h"
#include "ops/linear/kernels/normed_product.cuh"
#include "ops/rope/rope_faults.h"

namespace stagegate::cuda {

namespace {

struct AttentionInputOperands {
  void* qkv;         // [rows, heads + 2 · kv_heads, 2 · half]
  const void* bias;  // of a row of qkv, or null
  const std::int32_t* positions;
  const float* cos;  // [table_length, half]
  const float* sin;
  std::int64_t table_length;
  const std::int32_t* slot_mapping;
  void* keys;  // [num_slots, kv_heads, 2 · half]
  void* values;
  std::int64_t num_slots;
  int heads;
  int kv_heads;
  int half;  // of head_dim
  int step;  // pairs of a tile
  Fault* fault;
};

// Rotation and the write to the cache: the two halves of a tile are the elements of a head that
// rotate with each other. They are rounded to T first, as separate operators round them.
template <typename T, int kColumns>
class RotateEpilogue {
 public:
  using Operands = AttentionInputOperands;

  // Asks where the rows are in their sequences and in the cache.
  __device__ RotateEpilogue(const Operands& operands, int rows) : to_(operands), rows_(rows) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int row = min(row_of(i), rows - 1);
      position_[i] = __ldcg(to_.positions + row);
      slot_[i] = __ldcg(to_.slot_mapping + row);
    }
  }

  // Reports what is wrong there.
  __device__ void begin() {
    const bool reports = blockIdx.x == 0 && threadIdx.x < 4;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int row = row_of(i);
      const bool placed = position_[i] >= 0 && position_[i] < to_.table_length;
      const bool stored = slot_[i] >= -1 && slot_[i] < to_.num_slots;
      if (!placed && reports && row < rows_) {
        report(to_.fault, RopeFault::kPosition, position_[i], row, to_.table_length);
      }
      if (!stored && reports && row < rows_) {
        report(to_.fault, KvWriteFault::kSlot, slot_[i], row, to_.num_slots);
      }
      if (!placed) position_[i] = -1;
      if (!stored) slot_[i] = -1;
    }
  }

  __device__ void prepare(int tile) {
    const int pair = pair_of(tile);
    const int head = head_of(tile);
    if (pair < 0) return;
    const auto* bias = static_cast<const T*>(to_.bias);
    const int at = head * 2 * to_.half + pair;
    bias_[0] = bias != nullptr ? to_float(bias[at]) : 0.0f;
    bias_[1] = bias != nullptr ? to_float(bias[at + to_.half]) : 0.0f;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const bool rotates = position_[i] >= 0 && head < to_.heads + to_.kv_heads;
      const std::int64_t angle = static_cast<std::int64_t>(position_[i]) * to_.half + pair;
      cos_[i] = rotates ? to_.cos[angle] : 1.0f;
      sin_[i] = rotates ? to_.sin[angle] : 0.0f;
    }
  }

  __device__ void finish(int tile, const narrow::TileSums<kColumns>& sums) const {
    const int pair = pair_of(tile);
    const int head = head_of(tile);
    const int width = 2 * to_.half;
    if (pair < 0) return;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int row = row_of(i);
      if (row >= rows_) continue;
      const float a = to_float(from_float<T>(sums[i / 2][i % 2] + bias_[0]));
      const float b = to_float(from_float<T>(sums[i / 2][i % 2 + 2] + bias_[1]));
      const T first = from_float<T>(a * cos_[i] - b * sin_[i]);
      const T second = from_float<T>(b * cos_[i] + a * sin_[i]);
      const std::int64_t all_heads = to_.heads + 2 * to_.kv_heads;
      T* out = static_cast<T*>(to_.qkv) + (row * all_heads + head) * width;
      out[pair] = first;
      out[pair + to_.half] = second;
      if (head < to_.heads || slot_[i] < 0) continue;
      const bool is_key = head < to_.heads + to_.kv_heads;
      const int kv_head = head - to_.heads - (is_key ? 0 : to_.kv_heads);
      T* cache = static_cast<T*>(is_key ? to_.keys : to_.values) +
                 (static_cast<std::int64_t>(slot_[i]) * to_.kv_heads + kv_head) * width;
      cache[pair] = first;
      cache[pair + to_.half] = second;
    }
  }

 private:
  static constexpr int kOwn = kColumns / 4;  // rows that a lane has sums of

  __device__ static int row_of(int i) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    return i / 2 * 8 + 2 * (lane % 4) + i % 2;
  }
  __device__ int tiles_of_head() const { return (to_.half + to_.step - 1) / to_.step; }
  __device__ int head_of(int tile) const { return tile / tiles_of_head(); }
  // -1 if this lane has no pair.
  __device__ int pair_of(int tile) const {
    const int of_tile = static_cast<int>(threadIdx.x) % kWarp / 4;
    const int pair = tile % tiles_of_head() * to_.step + of_tile;
    return of_tile < to_.step && pair < to_.half ? pair : -1;
  }

  const Operands& to_;
  int rows_;
  int position_[kOwn];  // -1: not rotated
  int slot_[kOwn];      // -1: not stored
  float bias_[2];
  float cos_[kOwn];
  float sin_[kOwn];
};

}  // namespace

void attention_input_narrow(const Context& context, const AttentionInputCall& call) {
  dispatch_device("attention_input", call.residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const narrow::NormedRows input{.x = call.residual.raw_data(),
                                     .indices = nullptr,
                                     .x_rows = call.residual.dim(0),
                                     .norm = call.weights.norm.raw_data(),
                                     .eps = call.eps,
                                     .count = static_cast<int>(call.residual.dim(0)),
                                     .depth = static_cast<int>(call.residual.dim(1))};
      const LinearWeight& weight = call.weights.qkv;
      const std::int64_t kv_heads = call.kv.keys.dim(1);
      const std::int64_t head_dim = call.qkv.dim(2);
      const auto half = static_cast<int>(head_dim / 2);
      const int step =
          narrow::half_rows(call.qkv.dim(1), half, context.stream->num_multiprocessors());
      const AttentionInputOperands operands{
          .qkv = call.qkv.raw_data(),
          .bias = weight.bias.defined() ? weight.bias.raw_data() : nullptr,
          .positions = cuda::input<std::int32_t>(call.positions),
          .cos = cuda::input<float>(call.rope_table.cos),
          .sin = cuda::input<float>(call.rope_table.sin),
          .table_length = call.rope_table.cos.dim(0),
          .slot_mapping = cuda::input<std::int32_t>(call.slot_mapping),
          .keys = call.kv.keys.raw_data(),
          .values = call.kv.values.raw_data(),
          .num_slots = call.kv.keys.dim(0),
          .heads = static_cast<int>(call.qkv.dim(1) - 2 * kv_heads),
          .kv_heads = static_cast<int>(kv_heads),
          .half = half,
          .step = step,
          .fault = context.stream->fault()};
      narrow::launch_normed_product<T, RotateEpilogue>(
          context, input, narrow::halved_tiles(weight.data, head_dim, step), operands);
    }
  });
}

}  // namespace stagegate::cuda

#include "device/cuda/kernel.cuh"
#include "device/cuda/launch.h"
#include "kv/cache.h"
#include "ops/kv_write/kv_write_faults.h"
#include "ops/ptx_hopper.cuh"
#include "ops/rms_norm/norm_row.cuh"
#include "ops/rope/rope.h"
#include "ops/rope/rope_faults.h"
#include "ops/rope/rotate.cuh"
#include "ops/rope_kv_write/rope_kv_write.h"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 128;

// A head is two halves of `half_packs` packs each. norms: null where a model has none.
template <typename T, int kWidth>
struct Heads {
  using Packed = Pack<T, kWidth>;
  Packed* qkv;
  const Packed* q_norm;
  const Packed* k_norm;
  float eps;
  const Pack<float, 4>* cos;
  const Pack<float, 4>* sin;
  Packed* k_cache;
  Packed* v_cache;
  int heads;
  int kv_heads;
  int half_packs;
};

// Norms a head of which a thread of `half_packs` neighbours has one pack of each half. The squares
// are added in the order of rms_norm: its threads that are as far apart are added first.
template <typename T, int kWidth>
__device__ void norm_head(Pack<T, kWidth>& first, Pack<T, kWidth>& second,
                          const Pack<T, kWidth>* weight, int pack, int half_packs, float eps) {
  float sum = add_squares(first, 0.0f) + add_squares(second, 0.0f);
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned group = (half_packs == kWarp ? 0xffffffffu : (1u << half_packs) - 1)
                         << (lane - lane % half_packs);
  for (int offset = half_packs / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(group, sum, offset);
  }
  const float inverse = inverse_rms(sum, 2 * half_packs * kWidth, eps);
  first = scaled_pack(first, inverse, weight[pack]);
  second = scaled_pack(second, inverse, weight[pack + half_packs]);
}

template <typename T, int kWidth>
__device__ void rotate_packs(Pack<T, kWidth>& first, Pack<T, kWidth>& second,
                             const Pack<float, 4>* cos, const Pack<float, 4>* sin) {
#pragma unroll
  for (int quarter = 0; quarter < kWidth / 4; ++quarter) {
    const auto c = cos[quarter];
    const auto s = sin[quarter];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float a = to_float(first.values[4 * quarter + e]);
      float b = to_float(second.values[4 * quarter + e]);
      rotate(a, b, c.values[e], s.values[e]);
      first.values[4 * quarter + e] = from_float<T>(a);
      second.values[4 * quarter + e] = from_float<T>(b);
    }
  }
}

// One block a token. A thread takes a pack of the first half of a head and the one it is rotated
// with, of one head after another: those of q, of k, and of v, which are only copied.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    rope_kv_write_kernel(Heads<T, kWidth> h, const std::int32_t* positions,
                         const std::int32_t* slot_mapping, std::int64_t table_length,
                         std::int64_t num_slots, Fault* fault) {
  ptx::follow_previous_and_let_next_start();
  const std::int64_t token = blockIdx.x;
  const std::int64_t position = positions[token];
  const std::int64_t slot = slot_mapping[token];
  const bool has_position = position >= 0 && position < table_length;
  const bool has_slot = slot >= -1 && slot < num_slots;
  if (!has_position || !has_slot) {
    if (threadIdx.x != 0) return;
    if (!has_position) {
      report(fault, RopeFault::kPosition, position, token, table_length);
    } else {
      report(fault, KvWriteFault::kSlot, slot, token, num_slots);
    }
    return;
  }
  const int head_packs = 2 * h.half_packs;
  auto* row = h.qkv + token * (h.heads + 2 * h.kv_heads) * head_packs;
  const std::int64_t cached = slot * h.kv_heads * head_packs;
  const std::int64_t angle = position * h.half_packs;
  for (int i = threadIdx.x; i < (h.heads + 2 * h.kv_heads) * h.half_packs; i += kThreads) {
    const int head = i / h.half_packs;
    const int pack = i % h.half_packs;
    auto* at = row + head * head_packs + pack;
    auto first = at[0];
    auto second = at[h.half_packs];
    const int kv_head = head - h.heads;
    if (kv_head < h.kv_heads) {
      const auto* norm = kv_head < 0 ? h.q_norm : h.k_norm;
      if (norm != nullptr) norm_head(first, second, norm, pack, h.half_packs, h.eps);
      const std::int64_t quarter = (angle + pack) * (kWidth / 4);
      rotate_packs(first, second, h.cos + quarter, h.sin + quarter);
      at[0] = first;
      at[h.half_packs] = second;
    }
    if (kv_head < 0 || slot < 0) continue;
    auto* to = kv_head < h.kv_heads
                   ? h.k_cache + cached + kv_head * head_packs + pack
                   : h.v_cache + cached + (kv_head - h.kv_heads) * head_packs + pack;
    to[0] = first;
    to[h.half_packs] = second;
  }
}

template <typename T>
constexpr std::int64_t kPackWidth = 16 / sizeof(T);

}  // namespace

bool rope_kv_write_takes(const Tensor& qkv, const HeadNorms& norms, const RopeTable& rope_table,
                         const KvLayer& kv) {
  const std::int64_t half_bytes = qkv.dim(2) / 2 * static_cast<std::int64_t>(size_of(qkv.dtype()));
  if (half_bytes == 0 || half_bytes % 16 != 0) return false;
  const auto address = [](const Tensor& t) { return t.defined() ? t.raw_data() : nullptr; };
  if (!all_aligned({address(qkv), address(norms.q), address(norms.k), address(rope_table.cos),
                    address(rope_table.sin), address(kv.keys), address(kv.values)},
                   16)) {
    return false;
  }
  // A head's norm is a sum among threads of one warp, by halves.
  const std::int64_t half_packs = half_bytes / 16;
  return !norms.q.defined() || (half_packs <= kWarp / 2 && (half_packs & (half_packs - 1)) == 0);
}

void rope_kv_write(const Context& context, const Tensor& qkv, const HeadNorms& norms,
                   const Tensor& positions, const RopeTable& rope_table, const Tensor& slot_mapping,
                   const KvLayer& kv) {
  dispatch_device("rope_kv_write", qkv.dtype(), [&](auto tag) {
    using T = decltype(tag);
    constexpr int kWidth = kPackWidth<T>;
    using Packed = Pack<T, kWidth>;
    const bool normed = norms.q.defined();
    const std::int64_t kv_heads = kv.keys.dim(1);
    const Heads<T, kWidth> heads{
        .qkv = output<Packed>(qkv),
        .q_norm = normed ? input<Packed>(norms.q) : nullptr,
        .k_norm = normed ? input<Packed>(norms.k) : nullptr,
        .eps = norms.eps,
        .cos = input<Pack<float, 4>>(rope_table.cos),
        .sin = input<Pack<float, 4>>(rope_table.sin),
        .k_cache = output<Packed>(kv.keys),
        .v_cache = output<Packed>(kv.values),
        .heads = static_cast<int>(qkv.dim(1) - 2 * kv_heads),
        .kv_heads = static_cast<int>(kv_heads),
        .half_packs = static_cast<int>(qkv.dim(2) / (2 * kWidth)),
    };
    launch_following(rope_kv_write_kernel<T, kWidth>, static_cast<unsigned>(qkv.dim(0)), kThreads,
                     0, context, heads, input<std::int32_t>(positions),
                     input<std::int32_t>(slot_mapping), rope_table.cos.dim(0), kv.keys.dim(0),
                     context.stream->fault());
  });
}

}  // namespace stagegate::cuda

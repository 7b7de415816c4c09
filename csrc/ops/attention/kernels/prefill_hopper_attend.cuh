#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/prefill_hopper_load.cuh"
#include "ops/attention/kernels/prefill_hopper_shape.cuh"
#include "ops/attention/kernels/prefill_hopper_tile.cuh"
#include "ops/ptx_hopper.cuh"
#include "ops/wgmma.cuh"

// A warpgroup of the Hopper prefill kernel that multiplies: it goes through the items that the
// loading warp takes, 64 rows of each. The scores of a tile are computed while the values of the
// one before are; and warpgroups take turns at starting products, so that one has the tensor cores
// while the others have the exponentials (FlashAttention-3, Shah et al., arXiv 2407.08608).
namespace stagegate::cuda {
namespace {

template <typename T, int kDim>
struct Consumer {
  using S = Shape<kDim>;
  static constexpr int kFirstTurn = 1;  // named barriers of the turns, one a warpgroup
  static constexpr int kFirstOwn = 5;   // of each warpgroup alone
  static constexpr int kTogether = 9;   // of all warpgroups that multiply

  const Operands& operands;
  Shared<T, kDim>& shared;
  int group;  // which of the warpgroups
  Ring<S::kStages> k_stage{};
  Ring<S::kStages> v_stage{};
  unsigned q_parity = 0;

  static __device__ __forceinline__ int thread() {
    return static_cast<int>(threadIdx.x) % kWarpgroup;
  }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  // A warp is done with what a barrier guards.
  static __device__ __forceinline__ void release(std::uint64_t* empty) {
    if (lane() == 0) ptx::arrive(empty);
  }

  __device__ __forceinline__ void wait_turn() const {
    ptx::sync_threads(kFirstTurn + group, 2 * kWarpgroup);
  }
  __device__ __forceinline__ void pass_turn() const {
    ptx::arrive_threads(kFirstTurn + (group + 1) % S::kConsumers, 2 * kWarpgroup);
  }

  // Clears what lies behind the end of a sequence in its last tile of values, which may be
  // anything: rows there weigh zero, and zero times infinity is NaN. All warpgroups take part.
  __device__ __forceinline__ void clear_behind(int rows, T* tile_v) const {
    constexpr int kPieces = kDim / 8;  // of 16 bytes in a row
    constexpr int kAll = S::kConsumers * kWarpgroup;
    for (int i = rows * kPieces + group * kWarpgroup + thread(); i < kKeys * kPieces; i += kAll) {
      const int row = i / kPieces;
      const int half = i % kPieces / 8;
      // Whole rows are cleared, so the order of their pieces does not matter.
      const int pattern = row / kGroupKeys * S::kHalves + half;
      reinterpret_cast<uint4*>(tile_v)[(pattern * kGroupKeys + row % kGroupKeys) * 8 + i % 8] =
          uint4{};
    }
    ptx::fence_shared_for_async();
    ptx::sync_threads(kTogether, kAll);
  }

  // Goes through the tiles of keys of an item that has some.
  __device__ __forceinline__ void attend(const Item& item, Softmax& state, float (&sum)[kDim / 2]) {
    const T* const group_q = shared.q + group * kGroupRows * kColumns;
    const int first_row = group * kGroupRows + thread() / kWarp * 16 + lane() / 4;
    const int seen[2] = {item.seen + min(first_row / operands.group, item.queries - 1),
                         item.seen + min((first_row + 8) / operands.group, item.queries - 1)};
    float score[kKeys / 2];
    float decay[2];
    std::uint32_t weights[kKeys / 16][4];

    ptx::wait(&shared.q_full, q_parity);
    q_parity ^= 1u;
    ptx::wait(&shared.k_full[k_stage.place], k_stage.parity);
    wgmma::fence();
    start_scores<T, kDim>(group_q, shared.k[k_stage.place], score);
    wgmma::commit();
    wgmma::wait<0>();
    hold(score);
    release(&shared.k_empty[k_stage.place]);
    k_stage.advance();
    int tile = item.first_tile;
    if ((tile + 1) * kKeys > item.seen) leave_out(tile * kKeys, seen, score);
    weigh(operands.scale_log2, score, state, decay);
    round_weights<T>(score, weights);

    for (++tile; tile < item.end_tile; ++tile) {
      ptx::wait(&shared.k_full[k_stage.place], k_stage.parity);
      wait_turn();
      hold(sum);
      wgmma::fence();
      start_scores<T, kDim>(group_q, shared.k[k_stage.place], score);
      wgmma::commit();
      ptx::wait(&shared.v_full[v_stage.place], v_stage.parity);
      wgmma::fence();
      start_values<T, kDim>(weights, shared.v[v_stage.place], sum, tile > item.first_tile + 1);
      wgmma::commit();
      pass_turn();
      wgmma::wait<1>();
      hold(score);
      release(&shared.k_empty[k_stage.place]);
      k_stage.advance();
      if ((tile + 1) * kKeys > item.seen) leave_out(tile * kKeys, seen, score);
      const bool rescales = weigh(operands.scale_log2, score, state, decay);
      hold(score);  // the exponentials come before the wait, beside the products
      hold(state.total);
      wgmma::wait<0>();
      hold(sum);
      release(&shared.v_empty[v_stage.place]);
      v_stage.advance();
      if (rescales) rescale(decay, sum);
      round_weights<T>(score, weights);
    }
    release(&shared.q_empty);

    ptx::wait(&shared.v_full[v_stage.place], v_stage.parity);
    T* const last_v = shared.v[v_stage.place];
    const int in_sequence = item.length - (item.end_tile - 1) * kKeys;
    if (in_sequence < kKeys) clear_behind(in_sequence, last_v);
    hold(sum);
    wgmma::fence();
    start_values<T, kDim>(weights, last_v, sum, item.end_tile > item.first_tile + 1);
    wgmma::commit();
    wgmma::wait<0>();
    hold(sum);
    release(&shared.v_empty[v_stage.place]);
    v_stage.advance();
  }

  // What a thread leaves of a piece: its sums, then offsets and totals, a row of threads each.
  static constexpr int kSums = kDim / 2;
  static constexpr std::int64_t kPart = (kSums + 4) * kWarpgroup;
  static constexpr std::int64_t kNextPart = S::kConsumers * kPart;  // of the next piece

  // Where this thread leaves them for piece 0.
  __device__ __forceinline__ float* parts(const Item& item) const {
    return operands.partials + (std::int64_t{item.slot} * S::kConsumers + group) * kPart + thread();
  }

  // Leaves the partial results of a piece. Whether all pieces are there now.
  __device__ __forceinline__ bool leave_part(const Item& item, const Softmax& state,
                                             const float (&sum)[kSums]) const {
    float* const part = parts(item) + item.piece * kNextPart;
#pragma unroll
    for (int i = 0; i < kSums; ++i) __stcg(part + i * kWarpgroup, sum[i]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      __stcg(part + (kSums + half) * kWarpgroup, state.offset[half]);
      __stcg(part + (kSums + 2 + half) * kWarpgroup, state.total[half]);
    }
    // Every thread stores before its warpgroup counts itself, so the last to count sees all.
    __threadfence();
    ptx::sync_threads(kFirstOwn + group, kWarpgroup);
    if (thread() == 0) {
      const auto last = static_cast<unsigned>(item.pieces - 1);
      unsigned* const done = operands.joined + item.slot * S::kConsumers + group;
      shared.is_last[group] = atomicInc(done, last) == last;
    }
    ptx::sync_threads(kFirstOwn + group, kWarpgroup);
    if (!shared.is_last[group]) return false;
    __threadfence();
    return true;
  }

  // Joins the partial results of all pieces, in their order.
  __device__ __forceinline__ void join_parts(const Item& item, Softmax& state,
                                             float (&sum)[kSums]) const {
    const float* const first = parts(item);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      state.total[half] = 0.0f;
#pragma unroll 4
      for (int piece = 0; piece < item.pieces; ++piece) {
        const float* const offset = first + piece * kNextPart + (kSums + half) * kWarpgroup;
        state.offset[half] = fmaxf(state.offset[half], __ldcg(offset));
      }
    }
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum[i] = 0.0f;
    for (int piece = 0; piece < item.pieces; ++piece) {
      const float* const part = first + piece * kNextPart;
      float factor[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* const offset = part + (kSums + half) * kWarpgroup;
        factor[half] = ptx::exp2(__ldcg(offset) - state.offset[half]);
        state.total[half] = fmaf(__ldcg(offset + 2 * kWarpgroup), factor[half], state.total[half]);
      }
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        sum[i] = fmaf(__ldcg(part + i * kWarpgroup), factor[i / 2 % 2], sum[i]);
      }
    }
  }

  // Writes the rows of an item: the weighted sums over the totals.
  __device__ __forceinline__ void store(const Item& item, Softmax& state,
                                        const float (&sum)[kDim / 2]) const {
    const int quarter = lane() % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // A row that sees a key has a weight of at least 1.
      const float inverse = state.total[half] == 0.0f ? 0.0f : 1.0f / state.total[half];
      const int row = group * kGroupRows + thread() / kWarp * 16 + lane() / 4 + half * 8;
      const int query = row / operands.group;
      const std::int64_t head = std::int64_t{item.first_query + query} * operands.heads +
                                item.kv_head * operands.group + row % operands.group;
      T* const out = static_cast<T*>(operands.out) + head * kDim;
#pragma unroll
      for (int d = 0; d < kDim / 8; d += 4) {
        // The threads of a row hold two columns of each 8; each gets all 8 columns of one.
        std::uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          pairs[i] = ptx::pair<T>(sum[(d + i) * 4 + 2 * half] * inverse,
                                  sum[(d + i) * 4 + 2 * half + 1] * inverse);
        }
        transpose_quad(pairs);
        if (query < item.queries) {
          *reinterpret_cast<uint4*>(out + (d + quarter) * 8) =
              make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
      }
    }
  }

  // values[i] of quarter j goes to values[j] of quarter i, among four neighbouring lanes.
  static __device__ __forceinline__ void transpose_quad(std::uint32_t (&values)[4]) {
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
      const bool high = (lane() & bit) != 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if ((i & bit) != 0) continue;
        const std::uint32_t sent = high ? values[i] : values[i + bit];
        const std::uint32_t got = __shfl_xor_sync(0xffffffffu, sent, bit);
        if (high) {
          values[i] = got;
        } else {
          values[i + bit] = got;
        }
      }
    }
  }

  __device__ __forceinline__ void run() {
    Ring<Shared<T, kDim>::kItems> place;
    if (group == S::kConsumers - 1) pass_turn();  // the first turn is the first warpgroup's
    for (;;) {
      const Item item = next_item(shared, place);
      if (item.sequence < 0) return;
      float sum[kDim / 2];
      Softmax state;
      if (item.first_tile < item.end_tile) {
        attend(item, state, sum);
      } else {
#pragma unroll
        for (int i = 0; i < kDim / 2; ++i) sum[i] = 0.0f;
      }
#pragma unroll
      for (float& total : state.total) {
        total += __shfl_xor_sync(0xffffffffu, total, 1);
        total += __shfl_xor_sync(0xffffffffu, total, 2);
      }
      if (item.pieces > 1) {
        if (!leave_part(item, state, sum)) continue;
        join_parts(item, state, sum);
      }
      store(item, state, sum);
    }
  }
};

}  // namespace
}  // namespace stagegate::cuda

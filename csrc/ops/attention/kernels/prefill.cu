#include "device/cuda/launch.h"
#include "ops/attention/kernels/kernels.h"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_tile.cuh"
#include "ops/attention/kernels/prefill_work.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// FlashAttention-2 (Dao, arXiv 2307.08691) over block tables. The rows of a tile are pairs (query,
// head of a group), query by query, so keys and values are read once for the heads that share
// them. Each warp owns 16 rows; tiles of keys come through cp.async, one ahead of the products.
namespace stagegate::cuda {
namespace {

// Queues the copies of a tile's queries.
template <typename T, int kDim>
__device__ __forceinline__ void copy_query(const Operands& operands, const Rows& rows,
                                           T* shared_q) {
  constexpr int kPieces = kDim / 8;
  constexpr int kRowStep = kThreads / kPieces;
  const int group = operands.group;
  const int copy_row = static_cast<int>(threadIdx.x) / kPieces;
  const int copy_piece = static_cast<int>(threadIdx.x) % kPieces;
  const T* q = static_cast<const T*>(operands.q);
#pragma unroll
  for (int i = 0; i < kRows / kRowStep; ++i) {
    const int row = copy_row + i * kRowStep;
    const int at = min(rows.first + row, rows.last);
    const std::int64_t query = rows.first_query + at / group;
    const int head = rows.kv_head * group + at % group;
    ptx::copy_async(shared_q + swizzled<kDim>(row, copy_piece),
                    q + query * operands.q_stride + head * kDim + copy_piece * 8,
                    rows.first + row <= rows.last);
  }
}

// Writes the rows of a warp: the weighted sums over the totals.
template <typename T, int kDim>
__device__ __forceinline__ void store_rows(const Operands& operands, const Rows& rows,
                                           Softmax& state, const float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = operands.group;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.total[half] += __shfl_xor_sync(0xffffffffu, state.total[half], 1);
    state.total[half] += __shfl_xor_sync(0xffffffffu, state.total[half], 2);
    const int row = rows.first + lane / 4 + half * 8;
    if (row > rows.last) continue;
    // A row that sees a key has a weight of 1.
    const float inverse = state.total[half] == 0.0f ? 0.0f : 1.0f / state.total[half];
    const std::int64_t query = rows.first_query + row / group;
    T* out = static_cast<T*>(operands.out) +
             (query * operands.heads + rows.kv_head * group + row % group) * kDim + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      *reinterpret_cast<std::uint32_t*>(out + d * 8) =
          ptx::pair<T>(sum[d][2 * half] * inverse, sum[d][2 * half + 1] * inverse);
    }
  }
}

// The tiles of keys and values that a thread block goes through.
template <typename T, int kDim>
struct KeyTiles {
  static constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  static constexpr int kRowStep = kThreads / kPieces;  // rows that all threads copy at once

  const Operands& operands;
  const PagedKeys& keys;
  const Work& work;
  Shared<T, kDim>& shared;
  Fault* fault;

  // The slot of a position; -1 behind the last key that a row sees.
  __device__ __forceinline__ std::int32_t slot_at(int position) const {
    return position < work.seen_by_last ? paged_slot(keys, work.sequence, position, fault) : -1;
  }

  // Queues the copies of tile `index`, whose slots are in shared memory.
  __device__ __forceinline__ void copy(int index) const {
    const int stage = index & 1;
    const int piece = static_cast<int>(threadIdx.x) % kPieces;
    const int first = work.rows.kv_head * kDim + piece * 8;
    const T* const k = static_cast<const T*>(operands.k) + first;
    const T* const v = static_cast<const T*>(operands.v) + first;
#pragma unroll
    for (int i = 0; i < kKeys / kRowStep; ++i) {
      const int row = static_cast<int>(threadIdx.x) / kPieces + i * kRowStep;
      const std::int32_t slot = shared.slots[stage][row];
      const bool present = slot >= 0;
      const std::int64_t from = present ? slot : 0;
      const int to = swizzled<kDim>(row, piece);
      ptx::copy_async(shared.k[stage] + to, k + from * operands.k_stride, present);
      ptx::copy_async(shared.v[stage] + to, v + from * operands.v_stride, present);
    }
  }
};

// Goes through the tiles of keys, the next one's copies in flight. `state` and `sum` become those
// of a warp's rows, of which a thread holds lane / 4 and that plus 8. Tile 0 is on its way.
template <typename T, int kDim>
__device__ __forceinline__ void attend_tiles(const KeyTiles<T, kDim>& tiles, Softmax& state,
                                             float (&sum)[kDim / 8][4]) {
  const Work& work = tiles.work;
  Shared<T, kDim>& shared = tiles.shared;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp = thread / kWarp;
  int seen[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = work.rows.first + warp * 16 + lane / 4 + half * 8;
    seen[half] = work.cached + min(row, work.rows.last) / tiles.operands.group + 1;
  }
  for (int index = 0; index < work.key_tiles; ++index) {
    const int stage = index & 1;
    ptx::wait_copies<0>();
    __syncthreads();  // tile `index` is there, and nobody reads the one before it any more
    std::int32_t next_slot = -1;
    if (index + 1 < work.key_tiles) {
      tiles.copy(index + 1);
      if (thread < kKeys) next_slot = tiles.slot_at((index + 2) * kKeys + thread);
    }
    ptx::commit_copies();

    float score[kKeys / 8][4] = {};
    multiply_keys<T, kDim>(shared.q + warp * 16 * kDim, shared.k[stage], score);
    if ((index + 1) * kKeys > work.seen_by_first) leave_out(index * kKeys, seen, score);
    weigh<kDim>(tiles.operands.scale_log2, score, state, sum);
    multiply_values<T, kDim>(score, shared.v[stage], sum);
    // Read last by copy(index), a barrier ago.
    if (thread < kKeys) shared.slots[stage][thread] = next_slot;
  }
}

template <typename T, int kDim>
__global__ __launch_bounds__(kThreads,
                             2) void prefill_kernel(const __grid_constant__ Operands operands,
                                                    const __grid_constant__ PagedKeys keys_in,
                                                    Fault* fault) {
  using Memory = Shared<T, kDim>;
  extern __shared__ __align__(16) unsigned char memory[];
  Memory& shared = *reinterpret_cast<Memory*>(memory);
  const PagedKeys& keys = keys_in;
  const int thread = static_cast<int>(threadIdx.x);

  if (blockIdx.y == 0) {
    Keys all{};
    all.kind = Keys::Kind::kPaged;
    all.paged = keys;
    check_metadata(all, static_cast<std::int64_t>(blockIdx.x) * kThreads + thread,
                   static_cast<std::int64_t>(gridDim.x) * kThreads, fault);
  }
  Work work;
  if (!find_work(keys, operands.group, fault, work)) return;
  copy_query<T, kDim>(operands, work.rows, shared.q);

  const KeyTiles<T, kDim> tiles{operands, keys, work, shared, fault};
  static_assert(kThreads == 2 * kKeys);
  shared.slots[thread / kKeys][thread % kKeys] = tiles.slot_at(thread);  // of the first two tiles
  __syncthreads();
  tiles.copy(0);
  ptx::commit_copies();

  float sum[kDim / 8][4] = {};
  Softmax state;
  attend_tiles<T, kDim>(tiles, state, sum);

  Rows of_warp = work.rows;
  of_warp.first += thread / kWarp * 16;
  store_rows<T, kDim>(operands, of_warp, state, sum);
}

template <typename T>
void launch_prefill(const Context& context, const Operands& operands, const PagedKeys& keys,
                    int kv_heads, int head_dim) {
  // Every sequence may leave one tile partly filled.
  const std::int64_t rows = static_cast<std::int64_t>(keys.queries) * operands.group;
  const dim3 grid(ceil_div(rows, kRows) + static_cast<unsigned>(keys.sequences),
                  static_cast<unsigned>(kv_heads));
  if (head_dim == 64) {
    launch(prefill_kernel<T, 64>, grid, dim3(kThreads), sizeof(Shared<T, 64>), context, operands,
           keys, context.stream->fault());
  } else {
    launch(prefill_kernel<T, 128>, grid, dim3(kThreads), sizeof(Shared<T, 128>), context, operands,
           keys, context.stream->fault());
  }
}

}  // namespace

void attention_prefill(const Context& context, const AttentionCall& call) {
  const auto& [q, k_cache, v_cache, out, scale, form] = call;
  const PagedKeys keys = device_keys(call).paged;
  constexpr float kLog2E = 1.44269504f;
  Operands operands{};
  operands.q = q.raw_data();
  operands.k = k_cache.raw_data();
  operands.v = v_cache.raw_data();
  operands.out = out.raw_data();
  operands.q_stride = q.stride(0);
  operands.k_stride = k_cache.stride(0);
  operands.v_stride = v_cache.stride(0);
  operands.heads = static_cast<int>(q.dim(1));
  operands.group = static_cast<int>(q.dim(1) / k_cache.dim(1));
  operands.scale_log2 = scale * kLog2E;
  const auto kv_heads = static_cast<int>(k_cache.dim(1));
  const auto head_dim = static_cast<int>(q.dim(2));
  if (q.dtype() == DType::kF16) {
    launch_prefill<__half>(context, operands, keys, kv_heads, head_dim);
  } else {
    launch_prefill<__nv_bfloat16>(context, operands, keys, kv_heads, head_dim);
  }
}

}  // namespace stagegate::cuda

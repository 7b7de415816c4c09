#include "device/cuda/launch.h"
#include "ops/attention/kernels/kernels.h"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_tile.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// FlashAttention-2 (Dao, arXiv 2307.08691) over block tables. The rows of a tile are pairs (query,
// head of a group), query by query, so keys and values are read once for the heads that share
// them. Each warp owns 16 rows; tiles of keys come through cp.async, one ahead of the products.
namespace stagegate::cuda {
namespace {

constexpr int kThreads = 128;

struct Operands {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  std::int64_t q_stride, k_stride, v_stride;
  int heads, group;
  float scale_log2;  // scale · log2(e)
};

// The sequence and the tile in it that a thread block serves; sequence -1 for blocks past the last
// tile. All lanes of a warp take part and get the same answer.
struct Tile {
  int sequence;
  int index;
};
__device__ inline Tile find_tile(const PagedKeys& keys, int group, int block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int before = 0;
  for (int base = 0; base < keys.sequences; base += kWarp) {
    const int b = base + lane;
    int tiles = 0;
    if (b < keys.sequences) {
      const std::int64_t queries = num_queries(keys, b);
      const bool some = queries > 0 && queries <= keys.queries;
      tiles = some ? (static_cast<int>(queries) * group + kRows - 1) / kRows : 0;
    }
    int through = tiles;  // tiles up to and with this lane's sequence
#pragma unroll
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, through, offset);
      if (lane >= offset) through += other;
    }
    const unsigned reached = __ballot_sync(0xffffffffu, block < before + through);
    if (reached != 0) {
      const int at = __ffs(static_cast<int>(reached)) - 1;
      const int first = __shfl_sync(0xffffffffu, before + through - tiles, at);
      return {base + at, block - first};
    }
    before += __shfl_sync(0xffffffffu, through, kWarp - 1);
  }
  return {-1, 0};
}

template <int kDim>
constexpr std::size_t kSharedBytes = (kRows + 4 * kKeys) * kDim * 2 + 2 * kKeys * 4;

// Rows of the result, or of the queries behind them: of a sequence's tile, or of a warp.
struct Rows {
  int first_query;  // of the sequence
  int first;
  int last;  // of the tile
  int kv_head;
};

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

template <typename T, int kDim>
__global__ __launch_bounds__(kThreads,
                             2) void prefill_kernel(const __grid_constant__ Operands operands,
                                                    const __grid_constant__ PagedKeys keys_in,
                                                    Fault* fault) {
  constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  constexpr int kRowStep = kThreads / kPieces;  // rows that all threads copy at once
  extern __shared__ __align__(16) unsigned char memory[];
  T* const shared_q = reinterpret_cast<T*>(memory);
  T* const shared_k = shared_q + kRows * kDim;                                       // two tiles
  T* const shared_v = shared_k + 2 * kKeys * kDim;                                   // two tiles
  auto* const slots = reinterpret_cast<std::int32_t*>(shared_v + 2 * kKeys * kDim);  // two tiles

  const PagedKeys& keys = keys_in;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp = thread / kWarp;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int group = operands.group;

  if (blockIdx.y == 0) {
    Keys all{};
    all.kind = Keys::Kind::kPaged;
    all.paged = keys;
    check_metadata(all, static_cast<std::int64_t>(blockIdx.x) * kThreads + thread,
                   static_cast<std::int64_t>(gridDim.x) * kThreads, fault);
  }
  if (keys.first_query[0] != 0 || keys.first_query[keys.sequences] != keys.queries) return;
  // The last tiles of a long sequence see the most keys, so they go first.
  const Tile tile = find_tile(keys, group, static_cast<int>(gridDim.x - 1 - blockIdx.x));
  if (tile.sequence < 0) return;
  const int length = checked_length(keys, tile.sequence, fault);
  const int first_query = keys.first_query[tile.sequence];
  const int end_query = keys.first_query[tile.sequence + 1];
  if (length < 0 || first_query < 0 || end_query > keys.queries) return;
  const int queries = end_query - first_query;

  const int rows = queries * group;
  const int first_row = tile.index * kRows;
  const int last_row = min(first_row + kRows, rows) - 1;
  const int cached = length - queries;
  const int seen_by_first = cached + first_row / group + 1;
  const int seen_by_last = cached + last_row / group + 1;
  const int key_tiles = length == 0 ? 0 : (seen_by_last + kKeys - 1) / kKeys;

  const int copy_row = thread / kPieces;
  const int copy_piece = thread % kPieces;
  copy_query<T, kDim>(operands, {first_query, first_row, last_row, kv_head}, shared_q);

  const auto slot_at = [&](int position) {
    return position < seen_by_last ? paged_slot(keys, tile.sequence, position, fault) : -1;
  };
  const T* const k = static_cast<const T*>(operands.k) + kv_head * kDim + copy_piece * 8;
  const T* const v = static_cast<const T*>(operands.v) + kv_head * kDim + copy_piece * 8;
  const auto copy_tile = [&](int index) {
    const int stage = index & 1;
#pragma unroll
    for (int i = 0; i < kKeys / kRowStep; ++i) {
      const int row = copy_row + i * kRowStep;
      const std::int32_t slot = slots[stage * kKeys + row];
      const bool present = slot >= 0;
      const std::int64_t from = present ? slot : 0;
      const int to = stage * kKeys * kDim + swizzled<kDim>(row, copy_piece);
      ptx::copy_async(shared_k + to, k + from * operands.k_stride, present);
      ptx::copy_async(shared_v + to, v + from * operands.v_stride, present);
    }
  };
  slots[thread] = slot_at(thread);  // of the first two tiles
  static_assert(kThreads == 2 * kKeys);
  __syncthreads();
  copy_tile(0);
  ptx::commit_copies();

  // In the fragments of a warp a thread holds rows lane / 4 and that plus 8.
  int seen[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + warp * 16 + lane / 4 + half * 8;
    seen[half] = cached + min(row, last_row) / group + 1;
  }
  float sum[kDim / 8][4] = {};
  Softmax state;

  for (int index = 0; index < key_tiles; ++index) {
    const int stage = index & 1;
    ptx::wait_copies<0>();
    __syncthreads();  // tile `index` is there, and nobody reads the one before it any more
    std::int32_t next_slot = -1;
    if (index + 1 < key_tiles) {
      copy_tile(index + 1);
      if (thread < kKeys) next_slot = slot_at((index + 2) * kKeys + thread);
    }
    ptx::commit_copies();

    const T* const tile_k = shared_k + stage * kKeys * kDim;
    const T* const tile_v = shared_v + stage * kKeys * kDim;
    float score[kKeys / 8][4] = {};
    multiply_keys<T, kDim>(shared_q + warp * 16 * kDim, tile_k, score);
    if ((index + 1) * kKeys > seen_by_first) leave_out(index * kKeys, seen, score);
    weigh<kDim>(operands.scale_log2, score, state, sum);
    multiply_values<T, kDim>(score, tile_v, sum);
    // Read last by copy_tile(index), a barrier ago.
    if (thread < kKeys) slots[stage * kKeys + thread] = next_slot;
  }

  store_rows<T, kDim>(operands, {first_query, first_row + warp * 16, last_row, kv_head}, state,
                      sum);
}

template <typename T>
void launch_prefill(const Context& context, const Operands& operands, const PagedKeys& keys,
                    int kv_heads, int head_dim) {
  // Every sequence may leave one tile partly filled.
  const std::int64_t rows = static_cast<std::int64_t>(keys.queries) * operands.group;
  const dim3 grid(ceil_div(rows, kRows) + static_cast<unsigned>(keys.sequences),
                  static_cast<unsigned>(kv_heads));
  if (head_dim == 64) {
    launch(prefill_kernel<T, 64>, grid, dim3(kThreads), kSharedBytes<64>, context, operands, keys,
           context.stream->fault());
  } else {
    launch(prefill_kernel<T, 128>, grid, dim3(kThreads), kSharedBytes<128>, context, operands, keys,
           context.stream->fault());
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

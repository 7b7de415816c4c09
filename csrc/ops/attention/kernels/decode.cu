#include <algorithm>

#include "device/cuda/launch.h"
#include "ops/attention/kernels/decode_join.cuh"
#include "ops/attention/kernels/decode_operands.cuh"
#include "ops/attention/kernels/decode_tile.cuh"
#include "ops/attention/kernels/kernels.h"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/tiles.cuh"
#include "ops/ptx.cuh"

// Split-KV decoding ("Flash-Decoding", Dao et al. 2023) with grouped heads packed into the rows of
// a tensor core product. A thread block serves one query, one key head and one split of the keys.
// Its warps take turns at tiles of 16 keys, each with copies in flight and a softmax of its own, so
// the loop has no barrier; what they have is joined at the end, and what the splits have by the
// block that is the last to arrive.
namespace stagegate::cuda {
namespace {

// The tiles of a split that a warp goes through: the warp-th, and every kWarps-th after it.
template <typename T, int kDim>
struct WarpTiles {
  static constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  static constexpr int kRowsAtOnce = kWarp / kPieces;  // that a warp copies with one instruction

  const Operands& operands;
  const Keys& keys;
  const Visible& seen;
  const Split& split;
  int query;
  int kv_head;
  Shared<T, kDim>& shared;
  Fault* fault;

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

  // How many there are.
  __device__ __forceinline__ int count() const {
    const int tiles = (split.count + kKeys - 1) / kKeys;
    return tiles > warp() ? (tiles - warp() + kWarps - 1) / kWarps : 0;
  }

  // The keys of the split from the beginning of tile `index` on.
  __device__ __forceinline__ int keys_from(int index) const {
    return split.count - (warp() + index * kWarps) * kKeys;
  }

  // The slot of key `lane` of tile `index`, for the first half of the warp.
  __device__ __forceinline__ std::int32_t locate(int index) const {
    const int i = (warp() + index * kWarps) * kKeys + lane();
    return lane() < kKeys && i < split.count
               ? slot_of(keys, seen, query, split.first_key + i, fault)
               : -1;
  }

  // Queues the copies of the tile whose slots the lanes have.
  __device__ __forceinline__ void copy(int stage, std::int32_t slots) const {
    const int piece = lane() % kPieces;
    const T* const k = static_cast<const T*>(operands.k) + kv_head * kDim + piece * 8;
    const T* const v = static_cast<const T*>(operands.v) + kv_head * kDim + piece * 8;
    T* const to_k = shared.tiles.k[warp()][stage];
    T* const to_v = shared.tiles.v[warp()][stage];
#pragma unroll
    for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
      const int row = lane() / kPieces + i * kRowsAtOnce;
      const std::int32_t slot = __shfl_sync(0xffffffffu, slots, row);
      const bool present = slot >= 0;
      const std::int64_t from = present ? slot : 0;
      const int to = swizzled<kDim>(row, piece);
      ptx::copy_async(to_k + to, k + from * operands.k_stride, present);
      ptx::copy_async(to_v + to, v + from * operands.v_stride, present);
    }
  }
};

// What a warp has of its rows. In its fragments a thread holds rows lane / 4 and that plus 8.
template <int kDim>
struct State {
  float sum[kDim / 8][4] = {};
  // What exponents are relative to: the largest scaled score, as rounded.
  float offset[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's columns
};

// Goes through the tiles of a warp, with kStages - 1 of them in flight. Reads the query while the
// first come. No copy is in flight any more when it returns.
template <typename T, int kDim>
__device__ __forceinline__ void attend_tiles(const WarpTiles<T, kDim>& tiles, const T* query,
                                             int num_heads, State<kDim>& state) {
  const int own_tiles = tiles.count();
  std::int32_t slots[kStages];
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) slots[stage] = tiles.locate(stage);
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < own_tiles) tiles.copy(stage, slots[stage]);
    ptx::commit_copies();
  }
  std::int32_t next_slots = slots[kStages - 1];

  std::uint32_t q_parts[kDim / 16][4];
  load_query<T, kDim>(query, num_heads, q_parts);

  for (int index = 0, stage = 0; index < own_tiles; ++index) {
    ptx::wait_copies<kStages - 2>();
    __syncwarp();  // the tile is there for all lanes, and no lane reads the one before it any more
    const int ahead = index + kStages - 1;
    if (ahead < own_tiles) tiles.copy(stage == 0 ? kStages - 1 : stage - 1, next_slots);
    ptx::commit_copies();
    next_slots = tiles.locate(ahead + 1);

    const T* const tile_k = tiles.shared.tiles.k[tiles.warp()][stage];
    const T* const tile_v = tiles.shared.tiles.v[tiles.warp()][stage];
    stage = stage == kStages - 1 ? 0 : stage + 1;
    float score[2][4] = {};
    multiply_keys<T, kDim>(q_parts, tile_k, score);
    leave_out(tiles.keys_from(index), score);
    weigh<kDim>(tiles.operands.scale_log2, score, state.offset, state.total, state.sum);
    multiply_values<T, kDim>(score, tile_v, state.sum);
  }
  ptx::wait_copies<0>();
}

template <typename T, int kDim>
__global__ __launch_bounds__(kThreads, kBlocksPerMultiprocessor) void decode_kernel(
    const __grid_constant__ Operands operands, const __grid_constant__ Keys keys, Fault* fault) {
  using Memory = Shared<T, kDim>;
  extern __shared__ __align__(16) unsigned char memory[];
  Memory& shared = *reinterpret_cast<Memory*>(memory);

  const int query = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y) / operands.head_tiles;
  const int first_of_group = static_cast<int>(blockIdx.y) % operands.head_tiles * kRows;
  const int num_heads = min(kRows, operands.group - first_of_group);
  const int first_head = kv_head * operands.group + first_of_group;
  const std::int64_t first_row = static_cast<std::int64_t>(query) * operands.heads + first_head;
  const int index = static_cast<int>(blockIdx.z);
  if (index > 0 && sees_at_most(keys, query, index * kMinKeysOfSplit)) return;  // most are empty
  if (blockIdx.y == 0 && blockIdx.z == 0) {
    check_metadata(keys, static_cast<std::int64_t>(query) * kThreads + threadIdx.x,
                   static_cast<std::int64_t>(gridDim.x) * kThreads, fault);
  }
  const Visible seen = visible(keys, query, fault);
  const Split split = split_keys(seen.count, operands.splits, index);
  if (split.index >= split.splits) return;

  State<kDim> state;
  attend_tiles<T, kDim>({operands, keys, seen, split, query, kv_head, shared, fault},
                        static_cast<const T*>(operands.q) + query * operands.q_stride +
                            static_cast<std::int64_t>(first_head) * kDim,
                        num_heads, state);
  __syncthreads();  // the tiles make room for the sums

  share_sums<T, kDim>(state.offset, state.total, state.sum, shared);
  __syncthreads();

  join_warps<T, kDim>(operands, shared, first_row, num_heads, split.index, split.splits);
  if (split.splits == 1) return;

  if (!arrives_last(operands.arrived + query * gridDim.y + blockIdx.y, split.splits,
                    shared.is_last)) {
    return;
  }
  join_splits<T, kDim>(operands, first_row, num_heads, split.splits);
}

template <typename T, int kDim>
void launch_decode(const Context& context, const Operands& operands, const Keys& keys, dim3 grid) {
  launch(decode_kernel<T, kDim>, grid, dim3(kThreads), sizeof(Shared<T, kDim>), context, operands,
         keys, context.stream->fault());
}

}  // namespace

void attention_decode(const Context& context, const AttentionCall& call) {
  const auto& [q, k, v, out, scale, form] = call;
  const Keys keys = device_keys(call);
  constexpr float kLog2E = 1.44269504f;
  const std::int64_t queries = q.dim(0);
  const std::int64_t head_dim = q.dim(2);
  const std::int64_t kv_heads = k.dim(1);
  Operands operands{};
  operands.q = q.raw_data();
  operands.k = k.raw_data();
  operands.v = v.raw_data();
  operands.out = out.raw_data();
  operands.q_stride = q.stride(0);
  operands.k_stride = k.stride(0);
  operands.v_stride = v.stride(0);
  operands.heads = static_cast<int>(q.dim(1));
  operands.group = static_cast<int>(q.dim(1) / kv_heads);
  operands.head_tiles = static_cast<int>(ceil_div(operands.group, kRows));
  operands.scale_log2 = scale * kLog2E;

  // Some waves of blocks, so that sequences of different lengths even out, but no more splits than
  // can have keys.
  constexpr std::int64_t kWaves = 3;
  const std::int64_t blocks = queries * kv_heads * operands.head_tiles;
  const std::int64_t running =
      std::int64_t{kBlocksPerMultiprocessor} * context.stream->num_multiprocessors();
  const std::int64_t wanted = std::min<std::int64_t>(kMaxSplits, kWaves * running / blocks);
  const std::int64_t useful = ceil_div(max_keys(call), kMinKeysOfSplit);
  const std::int64_t splits = std::max<std::int64_t>(1, std::min(wanted, useful));
  operands.splits = static_cast<int>(splits);
  if (splits > 1) {
    const std::int64_t partials = queries * operands.heads * splits;
    const std::size_t sum_bytes = static_cast<std::size_t>(partials * head_dim) * sizeof(float);
    operands.sums = static_cast<float*>(
        context.stream->scratch(sum_bytes + static_cast<std::size_t>(partials) * sizeof(float2)));
    operands.weights = reinterpret_cast<float2*>(operands.sums + partials * head_dim);
    operands.arrived = context.stream->counters(static_cast<std::size_t>(blocks));
  }
  const dim3 grid(static_cast<unsigned>(queries),
                  static_cast<unsigned>(kv_heads * operands.head_tiles),
                  static_cast<unsigned>(splits));
  if (q.dtype() == DType::kF16) {
    if (head_dim == 64) return launch_decode<__half, 64>(context, operands, keys, grid);
    return launch_decode<__half, 128>(context, operands, keys, grid);
  }
  if (head_dim == 64) return launch_decode<__nv_bfloat16, 64>(context, operands, keys, grid);
  return launch_decode<__nv_bfloat16, 128>(context, operands, keys, grid);
}

}  // namespace stagegate::cuda

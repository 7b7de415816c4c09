#include <algorithm>

#include "device/cuda/launch.h"
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

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kStages = 3;  // tiles of a warp in shared memory
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kMinKeysOfSplit = kWarps * kKeys;
constexpr int kMaxSplits = 64;

struct Operands {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  std::int64_t q_stride, k_stride, v_stride;
  int heads, group;
  int head_tiles;  // of a group
  int splits;
  float scale_log2;   // scale · log2(e)
  float* sums;        // [query, head, split, head_dim] of weighted values
  float2* weights;    // [query, head, split]: maximum in the exponent of 2, and total
  unsigned* arrived;  // [query, head tile]: splits that are done; zero before and after
};

template <typename T, int kDim>
struct Shared {
  // Rows of f32 are shifted against each other so that a warp's stores hit different banks.
  static constexpr int kSumRow = kDim + 8;
  union {
    struct {
      T k[kWarps][kStages][kKeys * kDim];
      T v[kWarps][kStages][kKeys * kDim];
    } tiles;
    float sums[kWarps][kRows * kSumRow];
  };
  float offsets[kWarps][kRows];
  float totals[kWarps][kRows];
  bool is_last;
};

// The weighted sum over the total of the weights; zero where no key was seen. A NaN among the
// scores is in the total, whatever the maximum says.
__device__ inline float weighted_mean(float sum, float total) {
  return total == 0.0f ? 0.0f : __fdiv_rn(sum, total);
}

// Joins the splits of the heads of a tile: a warp a head, a lane some neighbouring elements.
template <typename T, int kDim>
__device__ void join_splits(const Operands& operands, std::int64_t first_row, int num_heads,
                            int splits) {
  constexpr int kOwned = kDim / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int head = static_cast<int>(threadIdx.x) / kWarp; head < num_heads; head += kWarps) {
    const std::int64_t row = first_row + head;
    const float2* weights = operands.weights + row * operands.splits;
    float maximum = -INFINITY;
    for (int s = lane; s < splits; s += kWarp) maximum = fmaxf(maximum, __ldcg(&weights[s]).x);
    maximum = warp_max(maximum);
    float total = 0.0f;
    for (int s = lane; s < splits; s += kWarp) {
      const float2 weight = __ldcg(&weights[s]);
      total += weight.y * rescale(weight.x, maximum);
    }
    total = warp_sum(total);
    float joined[kOwned] = {};
    const float* sums = operands.sums + row * operands.splits * kDim + lane * kOwned;
#pragma unroll 8
    for (int s = 0; s < splits; ++s) {
      const float factor = rescale(__ldcg(&weights[s].x), maximum);
      const float* from = sums + s * kDim;
#pragma unroll
      for (int e = 0; e < kOwned; e += 2) {
        const float2 both = __ldcg(reinterpret_cast<const float2*>(from + e));
        joined[e] = fmaf(both.x, factor, joined[e]);
        joined[e + 1] = fmaf(both.y, factor, joined[e + 1]);
      }
    }
    Pack<T, kOwned> result;
#pragma unroll
    for (int e = 0; e < kOwned; ++e) {
      result.values[e] = from_float<T>(weighted_mean(joined[e], total));
    }
    *reinterpret_cast<Pack<T, kOwned>*>(static_cast<T*>(operands.out) + row * kDim +
                                        lane * kOwned) = result;
  }
}

// Puts what a warp has into shared memory, its totals added up over the threads of a row.
template <typename T, int kDim>
__device__ __forceinline__ void share_sums(const float (&offset)[2], float (&total)[2],
                                           const float (&sum)[kDim / 8][4],
                                           Shared<T, kDim>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int row = lane / 4 + half * 8;
    if (lane % 4 == 0) {
      shared.offsets[warp][row] = offset[half];
      shared.totals[warp][row] = total[half];
    }
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      *reinterpret_cast<float2*>(
          &shared.sums[warp][row * Shared<T, kDim>::kSumRow + d * 8 + lane % 4 * 2]) =
          make_float2(sum[d][2 * half], sum[d][2 * half + 1]);
    }
  }
}

// Joins what the warps have: to the result, or to what this split has of it. A thread has elements
// thread, thread + kThreads, ... of [kRows, kDim].
template <typename T, int kDim>
__device__ __forceinline__ void join_warps(const Operands& operands, const Shared<T, kDim>& shared,
                                           std::int64_t first_row, int num_heads, int split,
                                           int splits) {
  constexpr int kOwned = kRows * kDim / kThreads;
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int j = 0; j < kOwned; ++j) {
    const int head = (thread + j * kThreads) / kDim;
    const int d = (thread + j * kThreads) % kDim;
    if (head >= num_heads) break;
    float maximum = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, shared.offsets[w][head]);
    float joined = 0.0f;
    float all = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = rescale(shared.offsets[w][head], maximum);
      joined = fmaf(shared.sums[w][head * Shared<T, kDim>::kSumRow + d], factor, joined);
      all = fmaf(shared.totals[w][head], factor, all);
    }
    const std::int64_t row = first_row + head;
    if (splits == 1) {
      static_cast<T*>(operands.out)[row * kDim + d] = from_float<T>(weighted_mean(joined, all));
    } else {
      const std::int64_t at = row * operands.splits + split;
      operands.sums[at * kDim + d] = joined;
      if (d == 0) operands.weights[at] = make_float2(maximum, all);
    }
  }
}

// Whether this block is the last of the splits to come here; all threads get the same answer.
// Threads' stores, then the count: whoever counts last finds all of them (the pattern of
// threadFenceReduction in the CUDA samples). The counter goes back to zero by itself.
__device__ __forceinline__ bool arrives_last(unsigned* arrived, int splits, bool& is_last) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last =
        atomicInc(arrived, static_cast<unsigned>(splits - 1)) == static_cast<unsigned>(splits - 1);
  }
  __syncthreads();
  if (!is_last) return false;
  __threadfence();
  return true;
}

template <typename T, int kDim>
__global__ __launch_bounds__(kThreads, kBlocksPerMultiprocessor) void decode_kernel(
    const __grid_constant__ Operands operands, const __grid_constant__ Keys keys, Fault* fault) {
  constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  constexpr int kRowsAtOnce = kWarp / kPieces;  // that a warp copies with one instruction
  using Memory = Shared<T, kDim>;
  extern __shared__ __align__(16) unsigned char memory[];
  Memory& shared = *reinterpret_cast<Memory*>(memory);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp = thread / kWarp;
  const int query = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y) / operands.head_tiles;
  const int first_of_group = static_cast<int>(blockIdx.y) % operands.head_tiles * kRows;
  const int num_heads = min(kRows, operands.group - first_of_group);
  const int first_head = kv_head * operands.group + first_of_group;
  const std::int64_t first_row = static_cast<std::int64_t>(query) * operands.heads + first_head;
  const int split = static_cast<int>(blockIdx.z);
  if (split > 0 && sees_at_most(keys, query, split * kMinKeysOfSplit)) return;  // most are empty
  if (blockIdx.y == 0 && blockIdx.z == 0) {
    check_metadata(keys, static_cast<std::int64_t>(query) * kThreads + thread,
                   static_cast<std::int64_t>(gridDim.x) * kThreads, fault);
  }
  const Visible seen = visible(keys, query, fault);
  // Splits of equal size, as many as the keys of this query are worth.
  const int share = (seen.count + operands.splits - 1) / operands.splits;
  const int keys_of_split =
      max(1, (share + kMinKeysOfSplit - 1) / kMinKeysOfSplit) * kMinKeysOfSplit;
  const int splits = max(1, (seen.count + keys_of_split - 1) / keys_of_split);
  if (split >= splits) return;
  const int first_key = split * keys_of_split;
  const int count = min(keys_of_split, seen.count - first_key);

  const int copy_row = lane / kPieces;
  const int copy_piece = lane % kPieces;
  // Tiles of this warp: the warp-th, and every kWarps-th after it.
  const int tiles = (count + kKeys - 1) / kKeys;
  const int own_tiles = tiles > warp ? (tiles - warp + kWarps - 1) / kWarps : 0;
  // The slot of key `lane` of the own tile `index`, for the first half of the warp.
  const auto locate = [&](int index) -> std::int32_t {
    const int i = (warp + index * kWarps) * kKeys + lane;
    return lane < kKeys && i < count ? slot_of(keys, seen, query, first_key + i, fault) : -1;
  };
  const T* const k = static_cast<const T*>(operands.k) + kv_head * kDim + copy_piece * 8;
  const T* const v = static_cast<const T*>(operands.v) + kv_head * kDim + copy_piece * 8;
  const auto copy_tile = [&](int stage, std::int32_t slots) {
    T* const to_k = shared.tiles.k[warp][stage];
    T* const to_v = shared.tiles.v[warp][stage];
#pragma unroll
    for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
      const int row = copy_row + i * kRowsAtOnce;
      const std::int32_t slot = __shfl_sync(0xffffffffu, slots, row);
      const bool present = slot >= 0;
      const std::int64_t from = present ? slot : 0;
      const int to = swizzled<kDim>(row, copy_piece);
      ptx::copy_async(to_k + to, k + from * operands.k_stride, present);
      ptx::copy_async(to_v + to, v + from * operands.v_stride, present);
    }
  };
  std::int32_t slots[kStages];
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) slots[stage] = locate(stage);
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < own_tiles) copy_tile(stage, slots[stage]);
    ptx::commit_copies();
  }
  std::int32_t next_slots = slots[kStages - 1];

  std::uint32_t q_parts[kDim / 16][4];
  load_query<T, kDim>(static_cast<const T*>(operands.q) + query * operands.q_stride +
                          static_cast<std::int64_t>(first_head) * kDim,
                      num_heads, q_parts);

  // In the fragments of a warp a thread holds rows lane / 4 and that plus 8.
  float sum[kDim / 8][4] = {};
  // What exponents are relative to: the largest scaled score, as rounded.
  float offset[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.0f, 0.0f};  // of this thread's columns

  for (int index = 0, stage = 0; index < own_tiles; ++index) {
    ptx::wait_copies<kStages - 2>();
    __syncwarp();  // the tile is there for all lanes, and no lane reads the one before it any more
    {
      const int ahead = index + kStages - 1;
      if (ahead < own_tiles) copy_tile(stage == 0 ? kStages - 1 : stage - 1, next_slots);
      ptx::commit_copies();
      next_slots = locate(ahead + 1);
    }
    const T* const tile_k = shared.tiles.k[warp][stage];
    const T* const tile_v = shared.tiles.v[warp][stage];
    stage = stage == kStages - 1 ? 0 : stage + 1;

    float score[2][4] = {};
    multiply_keys<T, kDim>(q_parts, tile_k, score);
    leave_out(count - (warp + index * kWarps) * kKeys, score);
    weigh<kDim>(operands.scale_log2, score, offset, total, sum);
    multiply_values<T, kDim>(score, tile_v, sum);
  }
  ptx::wait_copies<0>();
  __syncthreads();  // the tiles make room for the sums

  share_sums<T, kDim>(offset, total, sum, shared);
  __syncthreads();

  join_warps<T, kDim>(operands, shared, first_row, num_heads, split, splits);
  if (splits == 1) return;

  if (!arrives_last(operands.arrived + query * gridDim.y + blockIdx.y, splits, shared.is_last)) {
    return;
  }
  join_splits<T, kDim>(operands, first_row, num_heads, splits);
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

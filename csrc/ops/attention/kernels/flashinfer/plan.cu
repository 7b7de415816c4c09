#include <algorithm>

#include "device/cuda/launch.h"
#include "ops/attention/kernels/flashinfer/plan.h"
#include "ops/attention/kernels/keys.cuh"

// FlashInfer plans on the host, which has to know the lengths of sequences there. This is its plan
// (scheduler.cuh, PrefillSplitQOKVIndptr) by a kernel, so that a step stays asynchronous and can be
// a graph: shapes alone decide what is launched, and lengths what its thread blocks do.
namespace stagegate::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarp;
constexpr int kBlocksPerMultiprocessor = 2;  // that run at the same time
// Keys are cut into chunks of a multiple of this.
constexpr int kMinChunk = 128;

__device__ inline int ceil_quotient(int a, int b) { return (a + b - 1) / b; }

// The last index with first[index] <= value, of `count` values that do not descend from 0 on.
__device__ inline int last_not_above(const std::int32_t* first, int count, int value) {
  int low = 0;
  int high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (first[middle] <= value) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ inline int queries_of(const PagedKeys& keys, int sequence) {
  return keys.first_query[sequence + 1] - keys.first_query[sequence];
}

__device__ inline int tiles_of(const PagedKeys& keys, const FlashInferPlan& plan, int group,
                               int sequence) {
  return ceil_quotient(queries_of(keys, sequence) * group, plan.tile_rows);
}

// Sum over the lanes before this one; `all` becomes that over all of them.
__device__ inline int sum_before(int value, int& all) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int through = value;
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, through, offset);
    if (lane >= offset) through += other;
  }
  all = __shfl_sync(0xffffffffu, through, kWarp - 1);
  return through - value;
}

// The least chunk for which there are thread blocks enough. Each warp tries another: lengths to
// 128 Ki are settled in two rounds. All threads of the block take part and get the same answer.
__device__ int choose_chunk(const PagedKeys& keys, const FlashInferPlan& plan, int group,
                            int longest) {
  __shared__ bool suffices[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  static_assert(kWarps == kWarp);  // a lane for the finding of each warp
  // In units of kMinChunk. Everything below low is too small; high is a chunk a sequence, and for
  // that there are blocks enough.
  int low = 1;
  int high = ceil_quotient(longest, kMinChunk);
  while (low < high) {
    const int step = ceil_quotient(high - low, kWarps);
    const int chunk = min(low + warp * step, high) * kMinChunk;
    long long blocks = 0;
    for (int b = lane; b < keys.sequences; b += kWarp) {
      blocks += static_cast<long long>(tiles_of(keys, plan, group, b)) *
                ceil_quotient(keys.context_lens[b], chunk);
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      blocks += __shfl_xor_sync(0xffffffffu, blocks, offset);
    }
    if (lane == 0) suffices[warp] = blocks <= plan.blocks;
    __syncthreads();
    const unsigned sufficient = __ballot_sync(0xffffffffu, suffices[lane]);
    __syncthreads();  // before the next round writes
    if (sufficient == 0) {
      low += (kWarps - 1) * step + 1;
    } else {
      const int first = __ffs(static_cast<int>(sufficient)) - 1;
      high = min(low + first * step, high);
      low = first == 0 ? high : low + (first - 1) * step + 1;
    }
  }
  return high * kMinChunk;
}

// Pages of the cache by sequence and position. What no query sees is page 0, which exists.
__device__ void fill_pages(const PagedKeys& keys, const FlashInferPlan& plan, std::int64_t at,
                           Fault* fault) {
  if (at >= static_cast<std::int64_t>(keys.sequences) * keys.width) return;
  const int sequence = static_cast<int>(at / keys.width);
  const int position = static_cast<int>(at % keys.width) * keys.block_size;
  std::int32_t slot = 0;
  if (keys.first_query[0] == 0 && keys.first_query[keys.sequences] == keys.queries &&
      position < checked_length(keys, sequence, fault)) {
    slot = max(0, paged_slot(keys, sequence, position, fault));
  }
  plan.page_indices[at] = slot / keys.block_size;
}

// Zeros for the queries of sequences without tokens, a warp a sequence. row_units: 16 bytes each.
__device__ void clear_padding(const PagedKeys& keys, uint4* out, int row_units) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int b = static_cast<int>(threadIdx.x) / kWarp; b < keys.sequences; b += kWarps) {
    if (keys.context_lens[b] != 0) continue;
    const std::int64_t end = std::int64_t{keys.first_query[b + 1]} * row_units;
    for (std::int64_t i = std::int64_t{keys.first_query[b]} * row_units + lane; i < end;
         i += kWarp) {
      out[i] = uint4{};
    }
  }
}

// Whether the metadata keeps the rules of paged.h; what does not is reported. `longest`, in shared
// memory, becomes the greatest length. All threads of the block take part and get the same answer.
__device__ __forceinline__ bool check_lengths(const PagedKeys& keys, int& longest, Fault* fault) {
  const int thread = static_cast<int>(threadIdx.x);
  const int first = keys.first_query[0];
  const int last = keys.first_query[keys.sequences];
  const bool whole = first == 0 && last == keys.queries;
  if (thread == 0) {
    longest = 1;
    if (!whole) report(fault, AttentionFault::kQueryRange, first, last, keys.queries);
  }
  __syncthreads();
  // A cache without a single block has no page 0 either.
  int wrong = !whole || keys.num_slots < keys.block_size;
  for (int b = thread; whole && b < keys.sequences; b += kThreads) {
    const int length = checked_length(keys, b, fault);
    wrong |= length < 0;
    atomicMax(&longest, length);
  }
  return __syncthreads_or(wrong) == 0;
}

// Where the blocks, the results and the pages of every sequence begin, by one warp.
__device__ __forceinline__ void place_sequences(const PagedKeys& keys, const FlashInferPlan& plan,
                                                int group, int chunk, bool sound) {
  const int lane = static_cast<int>(threadIdx.x);
  int blocks = 0;  // of the sequences before
  int results = 0;
  for (int base = 0; base < keys.sequences; base += kWarp) {
    const int b = base + lane;
    int length = 0;
    int own_blocks = 0;
    int own_results = 0;
    if (b < keys.sequences && sound) {
      length = keys.context_lens[b];
      const int chunks = ceil_quotient(length, chunk);
      own_blocks = tiles_of(keys, plan, group, b) * chunks;
      own_results = queries_of(keys, b) * chunks;
    }
    int all_blocks;
    int all_results;
    const int blocks_before = blocks + sum_before(own_blocks, all_blocks);
    const int results_before = results + sum_before(own_results, all_results);
    if (b < keys.sequences) {
      plan.first_block[b] = blocks_before;
      plan.o_indptr[b] = results_before;
      plan.page_indptr[b] = b * keys.width;
      // FlashInfer computes a length as (pages - 1) · block_size + last_page_len, modulo 2^32. A
      // table may be wider than the sequence needs, and the last page then counts below zero.
      plan.last_page_len[b] = length - (keys.width - 1) * keys.block_size;
    }
    blocks += all_blocks;
    results += all_results;
  }
  if (lane == 0) {
    plan.first_block[keys.sequences] = blocks;
    plan.o_indptr[keys.sequences] = results;
    plan.page_indptr[keys.sequences] = keys.sequences * keys.width;
  }
}

// The sequence, the tile and the chunk of every block. Those past the last have no work.
__device__ __forceinline__ void assign_blocks(const PagedKeys& keys, const FlashInferPlan& plan,
                                              int chunk) {
  const int blocks = plan.first_block[keys.sequences];
  for (int i = static_cast<int>(threadIdx.x); i < plan.blocks; i += kThreads) {
    int sequence = 0;
    int tile = 0;
    int part = 0;
    if (i < blocks) {
      sequence = last_not_above(plan.first_block, keys.sequences, i);
      const int chunks = ceil_quotient(keys.context_lens[sequence], chunk);
      const int within = i - plan.first_block[sequence];
      tile = within / chunks;
      part = within % chunks;
    }
    plan.request_indices[i] = sequence;
    plan.qo_tile_indices[i] = tile;
    plan.kv_tile_indices[i] = part;
    plan.block_valid_mask[i] = i < blocks;
  }
}

// Where the results of every query begin. Without sound metadata no query has any.
__device__ __forceinline__ void place_results(const PagedKeys& keys, const FlashInferPlan& plan,
                                              int chunk, bool sound) {
  for (int query = static_cast<int>(threadIdx.x); query <= keys.queries; query += kThreads) {
    int first_result = plan.o_indptr[keys.sequences];
    if (sound && query < keys.queries) {
      const int sequence = last_not_above(keys.first_query, keys.sequences, query);
      const int chunks = ceil_quotient(keys.context_lens[sequence], chunk);
      first_result = plan.o_indptr[sequence] + (query - keys.first_query[sequence]) * chunks;
    }
    plan.merge_indptr[query] = first_result;
  }
}

// The first block of the grid plans, the others see to the pages.
__global__ __launch_bounds__(kThreads) void plan_kernel(
    const __grid_constant__ PagedKeys keys_in, const __grid_constant__ FlashInferPlan plan_in,
    int group, uint4* out, int row_units, Fault* fault) {
  __shared__ int longest;
  const PagedKeys& keys = keys_in;
  const FlashInferPlan& plan = plan_in;
  const int thread = static_cast<int>(threadIdx.x);
  if (blockIdx.x > 0) {
    fill_pages(keys, plan, static_cast<std::int64_t>(blockIdx.x - 1) * kThreads + thread, fault);
    return;
  }

  // If one entry is wrong, the step has failed and no block gets work.
  const bool sound = check_lengths(keys, longest, fault);
  if (sound) clear_padding(keys, out, row_units);
  const bool is_cut = plan.partial_out != nullptr;
  const int chunk = sound && is_cut ? choose_chunk(keys, plan, group, longest) : longest;
  if (thread == 0) *plan.kv_chunk_size = chunk;
  if (thread < kWarp) place_sequences(keys, plan, group, chunk, sound);
  __syncthreads();
  assign_blocks(keys, plan, chunk);
  if (is_cut) place_results(keys, plan, chunk, sound);
}

// Pieces of the scratch memory, one behind the other.
class Layout {
 public:
  // Where the next piece begins, from the beginning of the memory.
  std::size_t add(std::int64_t count, std::size_t item_bytes) {
    constexpr std::size_t kAlignment = 256;
    const std::size_t at = size_bytes_;
    const std::size_t wanted = static_cast<std::size_t>(count) * item_bytes;
    size_bytes_ += (wanted + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  std::size_t size_bytes_ = 0;
};

}  // namespace

FlashInferPlan plan_flashinfer(const Context& context, const PagedKeys& keys,
                               const FlashInferShape& shape, void* out) {
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t sequences = keys.sequences;
  const std::int64_t rows = keys.queries * group;
  FlashInferPlan plan{};
  // As FA2DetermineCtaTileQ: what the mean sequence fills.
  const std::int64_t mean_rows = rows / std::max<std::int64_t>(sequences, 1);
  plan.tile_rows = mean_rows > 64 ? 128 : mean_rows > 16 ? 64 : 16;
  // Every sequence may leave one tile partly filled, and no tile has less than one whole query.
  std::int64_t tiles = (rows + sequences * (plan.tile_rows - 1)) / plan.tile_rows;
  if (group <= plan.tile_rows) tiles = std::min<std::int64_t>(tiles, keys.queries);

  // Keys are cut where tiles alone leave multiprocessors idle.
  const std::int64_t room = std::int64_t{keys.width} * keys.block_size;
  const std::int64_t at_once =
      kBlocksPerMultiprocessor * context.stream->num_multiprocessors() / shape.kv_heads;
  const bool is_cut = tiles < at_once && room > kMinChunk;
  plan.blocks = static_cast<int>(is_cut ? at_once : tiles);
  // Queries · group <= tiles · tile_rows for a sequence, and there are as many results of a query
  // as blocks of a tile.
  const std::int64_t partials =
      is_cut ? std::int64_t{plan.blocks} * plan.tile_rows / group : std::int64_t{0};

  constexpr std::size_t kIndex = sizeof(std::int32_t);
  constexpr std::size_t kItem = 2;  // bytes of the dtypes it takes
  const std::int64_t pages = sequences * keys.width;
  Layout layout;
  const std::size_t page_indices = layout.add(pages, kIndex);
  const std::size_t page_indptr = layout.add(sequences + 1, kIndex);
  const std::size_t last_page_len = layout.add(sequences, kIndex);
  const std::size_t request_indices = layout.add(plan.blocks, kIndex);
  const std::size_t qo_tile_indices = layout.add(plan.blocks, kIndex);
  const std::size_t kv_tile_indices = layout.add(plan.blocks, kIndex);
  const std::size_t block_valid_mask = layout.add(plan.blocks, sizeof(bool));
  const std::size_t kv_chunk_size = layout.add(1, kIndex);
  const std::size_t o_indptr = layout.add(sequences + 1, kIndex);
  const std::size_t merge_indptr = layout.add(keys.queries + 1, kIndex);
  const std::size_t first_block = layout.add(sequences + 1, kIndex);
  const std::size_t partial_out = layout.add(partials * shape.heads * shape.head_dim, kItem);
  const std::size_t partial_lse = layout.add(partials * shape.heads, sizeof(float));

  auto* const memory = static_cast<std::byte*>(context.stream->scratch(layout.size_bytes()));
  const auto indices = [memory](std::size_t at) {
    return reinterpret_cast<std::int32_t*>(memory + at);
  };
  plan.page_indices = indices(page_indices);
  plan.page_indptr = indices(page_indptr);
  plan.last_page_len = indices(last_page_len);
  plan.request_indices = indices(request_indices);
  plan.qo_tile_indices = indices(qo_tile_indices);
  plan.kv_tile_indices = indices(kv_tile_indices);
  plan.block_valid_mask = reinterpret_cast<bool*>(memory + block_valid_mask);
  plan.kv_chunk_size = indices(kv_chunk_size);
  plan.o_indptr = indices(o_indptr);
  plan.merge_indptr = indices(merge_indptr);
  plan.first_block = indices(first_block);
  if (is_cut) {
    plan.partial_out = memory + partial_out;
    plan.partial_lse = reinterpret_cast<float*>(memory + partial_lse);
  }
  launch(plan_kernel, dim3(1 + ceil_div(pages, kThreads)), dim3(kThreads), 0, context, keys, plan,
         static_cast<int>(group), static_cast<uint4*>(out),
         static_cast<int>(shape.heads * shape.head_dim * kItem / sizeof(uint4)),
         context.stream->fault());
  return plan;
}

}  // namespace stagegate::cuda

#include <cuda.h>

#include <algorithm>

#include "device/cuda/launch.h"
#include "device/cuda/tensor_map.h"
#include "ops/attention/kernels/kernels.h"
#include "ops/attention/kernels/keys.cuh"
#include "ops/attention/kernels/prefill_hopper_attend.cuh"
#include "ops/attention/kernels/prefill_hopper_load.cuh"
#include "ops/attention/kernels/prefill_hopper_shape.cuh"

// FlashAttention-3 (Shah et al., arXiv 2407.08608) over block tables, for sm_90a. Blocks stay and
// take item after item. One warp of a block has the copy engine load, block of the cache by block,
// and warpgroups of 64 rows each multiply.
namespace stagegate::cuda {
namespace {

template <typename T, int kDim>
__device__ __forceinline__ void init_barriers(Shared<T, kDim>& shared) {
  using S = Shape<kDim>;
  constexpr unsigned kWarps = S::kConsumers * kWarpgroup / kWarp;  // that multiply
  ptx::init_barrier(&shared.q_full, 1);
  ptx::init_barrier(&shared.q_empty, kWarps);
  for (int stage = 0; stage < S::kStages; ++stage) {
    ptx::init_barrier(&shared.k_full[stage], 1);
    ptx::init_barrier(&shared.k_empty[stage], kWarps);
    ptx::init_barrier(&shared.v_full[stage], 1);
    ptx::init_barrier(&shared.v_empty[stage], kWarps);
  }
  for (int place = 0; place < Shared<T, kDim>::kItems; ++place) {
    ptx::init_barrier(&shared.item_full[place], 1);
    ptx::init_barrier(&shared.item_empty[place], kWarps + kLoadingWarps - 1);
  }
  ptx::fence_barriers();
}

// The last block to finish leaves the counters as it found them.
__device__ __forceinline__ void finish(const Operands& operands) {
  if (atomicInc(operands.finished, gridDim.x - 1) == gridDim.x - 1) atomicExch(operands.taken, 0u);
}

// What no item finds out, by one warp of each block.
__device__ __forceinline__ void check(const PagedKeys& keys, Fault* fault) {
  Keys all{};
  all.kind = Keys::Kind::kPaged;
  all.paged = keys;
  check_metadata(all, std::int64_t{blockIdx.x} * kWarp + threadIdx.x % kWarp,
                 std::int64_t{gridDim.x} * kWarp, fault);
}

template <typename T, int kDim>
__global__ __launch_bounds__(Shape<kDim>::kThreads, 1) void prefill_hopper_kernel(
    const __grid_constant__ Operands operands, const __grid_constant__ PagedKeys keys,
    Fault* fault) {
  if constexpr (kIsHopper) {
    using S = Shape<kDim>;
    extern __shared__ __align__(1024) unsigned char memory[];
    auto& shared = *reinterpret_cast<Shared<T, kDim>*>(memory);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (threadIdx.x == 0) init_barriers<T, kDim>(shared);
    __syncthreads();
    ptx::follow_previous_and_let_next_start();

    if (threadIdx.x < kWarpgroup) {
      ptx::give_registers_back<S::kProducerRegisters>();
      Loader<T, kDim>{operands, keys, shared, fault, warp}.run();
      if (threadIdx.x == 0) finish(operands);
      if (warp == 1) check(keys, fault);
    } else {
      ptx::take_registers<S::kConsumerRegisters>();
      Consumer<T, kDim>{operands, shared, static_cast<int>(threadIdx.x) / kWarpgroup - 1}.run();
    }
  }
}

// Slots for partial results, for each block. Where they do not suffice, keys stay whole.
constexpr int kSlotsOfBlock = 8;

template <typename T, int kDim>
void launch_prefill(const Context& context, Operands& operands, const PagedKeys& keys,
                    const AttentionCall& call) {
  using S = Shape<kDim>;
  const auto& [q, k_cache, v_cache, out, scale, form] = call;
  ItemRules& rules = operands.rules;
  rules.tile_queries = S::kRows / operands.group;
  rules.key_bytes = 2 * kDim * static_cast<int>(sizeof(T));
  operands.box_slots = std::min(keys.block_size, kKeys);
  operands.q =
      make_tensor_map(q.raw_data(), q.dtype(),
                      {{.size = kDim, .stride = 1, .box = kColumns},
                       {.size = q.dim(1), .stride = kDim, .box = operands.group},
                       {.size = q.dim(0), .stride = q.stride(0), .box = rules.tile_queries}});
  const auto map_cache = [&](const Tensor& cache) {
    const std::int64_t row = cache.stride(0);
    return make_tensor_map(cache.raw_data(), cache.dtype(),
                           {{.size = kColumns, .stride = 1, .box = kColumns},
                            {.size = kGroupKeys, .stride = row, .box = kGroupKeys},
                            {.size = S::kHalves, .stride = kColumns, .box = S::kHalves},
                            {.size = cache.dim(0) / kGroupKeys,
                             .stride = kGroupKeys * row,
                             .box = operands.box_slots / kGroupKeys},
                            {.size = cache.dim(1), .stride = kDim, .box = 1}});
  };
  operands.k = map_cache(k_cache);
  operands.v = map_cache(v_cache);
  // Every sequence may leave one tile partly filled.
  const std::int64_t most =
      rules.kv_heads * (std::int64_t{ceil_div(keys.queries, rules.tile_queries)} + keys.sequences);
  const int multiprocessors = context.stream->num_multiprocessors();
  if (max_keys(call) >= kLeastKeysToCut) {
    rules.most_slots = static_cast<int>(
        std::min<std::int64_t>(kSlotsOfBlock * multiprocessors, kMostPieces * most));
    constexpr std::size_t kPartBytes = S::kConsumers * kWarpgroup * (kDim / 2 + 4) * sizeof(float);
    operands.partials = static_cast<float*>(context.stream->scratch(rules.most_slots * kPartBytes));
  }
  operands.taken = context.stream->counters(2 + rules.most_slots * S::kConsumers);
  operands.finished = operands.taken + 1;
  operands.joined = operands.taken + 2;
  const std::int64_t blocks =
      std::min<std::int64_t>(std::max<std::int64_t>(most, rules.most_slots), multiprocessors);
  launch_following(prefill_hopper_kernel<T, kDim>, dim3(static_cast<unsigned>(blocks)),
                   dim3(S::kThreads), sizeof(Shared<T, kDim>), context, operands, keys,
                   context.stream->fault());
}

}  // namespace

void attention_prefill_hopper(const Context& context, const AttentionCall& call) {
  const PagedKeys keys = device_keys(call).paged;
  constexpr float kLog2E = 1.44269504f;
  Operands operands{};
  operands.out = call.out.raw_data();
  operands.heads = static_cast<int>(call.q.dim(1));
  operands.rules.kv_heads = static_cast<int>(call.k.dim(1));
  operands.group = operands.heads / operands.rules.kv_heads;
  operands.scale_log2 = call.scale * kLog2E;
  const bool wide = call.q.dim(2) == 128;
  if (call.q.dtype() == DType::kF16) {
    wide ? launch_prefill<__half, 128>(context, operands, keys, call)
         : launch_prefill<__half, 64>(context, operands, keys, call);
  } else {
    wide ? launch_prefill<__nv_bfloat16, 128>(context, operands, keys, call)
         : launch_prefill<__nv_bfloat16, 64>(context, operands, keys, call);
  }
}

}  // namespace stagegate::cuda

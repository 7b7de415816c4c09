#pragma once

#include <algorithm>
#include <cstdint>

#include "device/cuda/launch.h"
#include "ops/embedding/embedding_faults.h"
#include "ops/linear/kernels/normed_rows.cuh"
#include "ops/linear/kernels/tile_loop.cuh"

// A block of a layer that begins with a norm: RMS norm of up to 16 rows, product with a weight, and
// what follows it, tile by tile. A block of threads takes every so many tiles, and its warps share
// the depth. The weight is on its way before the kernel waits for the one before it.
namespace stagegate::cuda::narrow {

struct NormedProduct {
  NormedRows input;
  WeightTiles weight;
  NormedPlan plan;
};

// What the parts of the shared memory of a block are for.
struct NormedShared {
  std::uint8_t* slots;
  std::uint8_t* rows;
  std::uint8_t* norm;  // where the sums will be
  std::uint64_t* norm_barrier;
  SharedSums sums;
  float* squares;

  __device__ NormedShared(std::uint8_t* shared, const NormedProduct& p)
      : slots(shared),
        rows(slots + kWarps * p.plan.ring * p.plan.slot_bytes),
        norm(rows + p.input.count * p.plan.stride),
        norm_barrier(reinterpret_cast<std::uint64_t*>(norm + p.plan.sums_bytes)),
        sums(norm, norm_barrier + 1),
        squares(reinterpret_cast<float*>(norm_barrier + 1 + kSumsBarriers)) {}
};

// One thread sets the barriers up and asks for the norm.
template <typename T>
__device__ void begin(const NormedProduct& p, const NormedShared& shared) {
  if (threadIdx.x != 0) return;
  shared.sums.init();
  ptx::init_barrier(shared.norm_barrier, 1);
  ptx::fence_barriers();
  const unsigned bytes = static_cast<unsigned>(p.input.depth) * sizeof(T);
  ptx::arrive_expecting(shared.norm_barrier, bytes);
  ptx::copy_bulk(shared.norm, p.input.norm, bytes, shared.norm_barrier);
}

// Epilogue<T, kColumns>: made of its operands by every thread, which asks for what it needs of
// them; begin() uses it. prepare(tile) loads what finish(tile, sums) will need, for the lanes of
// the warp that finishes a tile.
template <typename T, int kColumns, int kDepth, typename Epilogue>
__global__ void __launch_bounds__(kThreads)
    normed_product(const __grid_constant__ NormedProduct p,
                   const __grid_constant__ typename Epilogue::Operands operands) {
  if constexpr (kIsHopper) {
    extern __shared__ __align__(128) std::uint8_t dynamic[];
    const NormedShared shared(dynamic, p);
    begin<T>(p, shared);
    const int block = static_cast<int>(blockIdx.x);
    const int blocks = static_cast<int>(gridDim.x);
    const BoxRange range{.first_tile = block,
                         .tile_step = blocks,
                         .tiles = (p.weight.tiles - block + blocks - 1) / blocks,
                         .boxes = p.weight.boxes};
    TileLoop<T, kDepth> loop(p.weight, range, shared.slots, p.plan.slot_bytes);
    loop.fill();
    ptx::wait_for_previous();

    Epilogue epilogue(operands, p.input.count);
    copy_rows<T>(p.input, shared.rows, p.plan.stride, shared.squares,
                 [&](int row, std::int64_t index) {
                   if (block != 0) return;
                   report(operands.fault, EmbeddingFault::kId, index, row, p.input.x_rows);
                 });
    epilogue.begin();
    if (threadIdx.x < kWarp) epilogue.prepare(block);
    __syncthreads();
    ptx::wait(shared.norm_barrier, 0);
    norm_rows<T>(p.input, shared.rows, p.plan.stride, shared.squares, shared.norm);
    __syncthreads();
    const StagedRows<T, kColumns> rows(shared.rows, p.plan.stride, p.input.count);
    loop.template run<kColumns>(
        rows, shared.sums,
        [&](int turn) {
          if (turn > 0) epilogue.prepare(block + turn * blocks);
        },
        [&](int turn, const TileSums<kColumns>& sums) {
          epilogue.finish(block + turn * blocks, sums);
        });
  }
}

// Queues it for up to 16 rows. Epilogue: of T and the rows it has room for.
template <typename T, template <typename, int> typename Epilogue, typename Operands>
void launch_normed_product(const Context& context, const NormedRows& input,
                           const WeightTiles& weight, const Operands& operands) {
  const NormedPlan plan = plan_normed(input.count, input.depth, weight.box_rows());
  const NormedProduct product{.input = input, .weight = weight, .plan = plan};
  const dim3 grid(
      static_cast<unsigned>(std::min(weight.tiles, context.stream->num_multiprocessors())));
  const auto queue = [&](auto kernel) {
    launch_chained(kernel, grid, kThreads, static_cast<std::size_t>(plan.shared_bytes), context,
                   product, operands);
  };
  const auto with_depth = [&](auto depth) {
    constexpr int kDepth = decltype(depth)::value;
    if (input.count <= 8) {
      queue(normed_product<T, 8, kDepth, Epilogue<T, 8>>);
    } else {
      queue(normed_product<T, 16, kDepth, Epilogue<T, 16>>);
    }
  };
  with_ring(plan.ring, with_depth);
}

}  // namespace stagegate::cuda::narrow

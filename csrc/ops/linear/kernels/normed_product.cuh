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
  std::uint8_t* norm;
  float4* sums;  // [2][warps][fragments][lanes]
  float* squares;
  std::uint64_t* norm_barrier;
  int stride;

  __device__ NormedShared(std::uint8_t* shared, const NormedProduct& p, int columns) {
    stride = p.plan.stride;
    slots = aligned_shared(shared);
    rows = slots + kWarps * p.plan.ring * kBoxBytes;
    norm = rows + p.input.count * stride;
    sums = reinterpret_cast<float4*>(norm + p.weight.boxes * kBoxColumns * 2);
    norm_barrier = reinterpret_cast<std::uint64_t*>(sums + 2 * kWarps * columns / 8 * kWarp);
    squares = reinterpret_cast<float*>(norm_barrier + 1);
  }
};

// Norms the rows into shared memory. The norm came there by itself.
template <typename T>
__device__ void norm_into(const NormedProduct& p, const NormedShared& shared, Fault* fault) {
  copy_rows<T>(p.input, shared.rows, shared.stride, shared.squares,
               [&](int row, std::int64_t index) {
                 if (blockIdx.x == 0) {
                   report(fault, EmbeddingFault::kId, index, row, p.input.x_rows);
                 }
               });
  __syncthreads();
  ptx::wait(shared.norm_barrier, 0);
  norm_rows<T>(p.input, shared.rows, shared.stride, shared.squares, shared.norm);
  __syncthreads();
}

// Epilogue<T, kColumns>: made of its operands by every thread; prepare(tile) loads what
// finish(tile, sums) will need, for the lanes of the warp that finishes a tile.
template <typename T, int kColumns, int kDepth, typename Epilogue>
__global__ void __launch_bounds__(kThreads)
    normed_product(const __grid_constant__ NormedProduct p,
                   const __grid_constant__ typename Epilogue::Operands operands) {
  if constexpr (kIsHopper) {
    extern __shared__ std::uint8_t dynamic[];
    const NormedShared shared(dynamic, p, kColumns);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (threadIdx.x == 0) {
      ptx::init_barrier(shared.norm_barrier, 1);
      ptx::fence_barriers();
      const unsigned bytes = static_cast<unsigned>(p.input.depth) * sizeof(T);
      ptx::arrive_expecting(shared.norm_barrier, bytes);
      ptx::copy_bulk(shared.norm, p.input.norm, bytes, shared.norm_barrier);
    }
    const int block = static_cast<int>(blockIdx.x);
    const int blocks = static_cast<int>(gridDim.x);
    const BoxRange range{.first_tile = block,
                         .tile_step = blocks,
                         .tiles = (p.weight.tiles - block + blocks - 1) / blocks,
                         .first_box = 0,
                         .boxes = p.weight.boxes};
    TileLoop<T, kDepth> loop(p.weight, range, shared.slots);
    loop.fill();
    ptx::let_next_start();
    ptx::wait_for_previous();

    Epilogue epilogue(operands, p.input.count);
    if (warp == 0) epilogue.prepare(block);
    norm_into<T>(p, shared, operands.fault);
    const RowAddresses<kColumns> rows(shared.rows, shared.stride, p.input.count);
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
  const NormedPlan plan = plan_normed(input.count, input.depth);
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

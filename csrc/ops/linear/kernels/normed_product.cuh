#pragma once

#include <algorithm>
#include <cstdint>

#include "device/cuda/launch.h"
#include "ops/embedding/embedding_faults.h"
#include "ops/linear/kernels/normed_rows.cuh"

// A block of a layer that begins with a norm: RMS norm of up to 16 rows, product with a weight, and
// what follows it, tile by tile. A block of threads takes every so many tiles, and its warps share
// the depth. The weight is on its way before the kernel waits for the one before it.
namespace stagegate::cuda::narrow {

struct NormedProduct {
  NormedRows input;
  WeightTiles weight;
  int ring;    // boxes
  int stride;  // bytes from row to row in shared memory
};

// What the parts of the shared memory of a block are for.
struct NormedShared {
  std::uint8_t* slots;
  std::uint8_t* rows;
  std::uint8_t* norm;
  float4* sums;  // [2][warps][fragments][lanes]
  float* squares;
  std::uint64_t* ring_barriers;
  std::uint64_t* norm_barrier;
  int stride;

  __device__ NormedShared(std::uint8_t* shared, const NormedProduct& p, int columns) {
    stride = p.stride;
    slots = aligned_shared(shared);
    rows = slots + kWarps * p.ring * kBoxBytes;
    norm = rows + p.input.count * stride;
    sums = reinterpret_cast<float4*>(norm + p.weight.boxes * kBoxColumns * 2);
    ring_barriers = reinterpret_cast<std::uint64_t*>(sums + 2 * kWarps * columns / 8 * kWarp);
    norm_barrier = ring_barriers + kWarps * p.ring;
    squares = reinterpret_cast<float*>(norm_barrier + 1);
  }
};

// Which boxes of which tiles a warp reads, one after another.
struct NormedCursor {
  int tile;
  int box;
  int left;

  __device__ NormedCursor(const WeightTiles& weight, int warp) {
    const int block = static_cast<int>(blockIdx.x);
    const int blocks = static_cast<int>(gridDim.x);
    const int tiles = (weight.tiles - block + blocks - 1) / blocks;
    const int boxes = (weight.boxes - warp + kWarps - 1) / kWarps;
    tile = block;
    box = warp;
    left = tiles * boxes;
  }
  __device__ void advance(const WeightTiles& weight, int warp) {
    --left;
    box += kWarps;
    if (box < weight.boxes) return;
    box = warp;
    tile += static_cast<int>(gridDim.x);
  }
};

// One lane asks for a box and moves on.
__device__ inline void ask_next(WarpRing& ring, NormedCursor& cursor, const WeightTiles& weight,
                                int warp) {
  if (cursor.left == 0) return;
  ring.ask(weight, cursor.tile, cursor.box);
  cursor.advance(weight, warp);
}

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

// The sums of all warps of one tile, in their order.
template <int kColumns>
__device__ void add_warps(TileSums<kColumns>& sums, const float4* parts) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  clear<kColumns>(sums);
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
      const float4 part = parts[(warp * (kColumns / 8) + i) * kWarp + lane];
      sums[i][0] += part.x;
      sums[i][1] += part.y;
      sums[i][2] += part.z;
      sums[i][3] += part.w;
    }
  }
}

// Epilogue<T, kColumns>: made of its operands by every thread; prepare(tile) loads what
// finish(tile, sums) will need, for the lanes of the warp that finishes a tile.
template <typename T, int kColumns, typename Epilogue>
__global__ void __launch_bounds__(kThreads)
    normed_product(const __grid_constant__ NormedProduct p,
                   const __grid_constant__ typename Epilogue::Operands operands) {
  if constexpr (kIsHopper) {
    extern __shared__ std::uint8_t dynamic[];
    const NormedShared shared(dynamic, p, kColumns);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if (threadIdx.x == 0) {
      ptx::init_barrier(shared.norm_barrier, 1);
      ptx::fence_barriers();
      const unsigned bytes = static_cast<unsigned>(p.input.depth) * sizeof(T);
      ptx::arrive_expecting(shared.norm_barrier, bytes);
      ptx::copy_bulk(shared.norm, p.input.norm, bytes, shared.norm_barrier);
    }
    WarpRing ring(shared.slots + warp * p.ring * kBoxBytes, shared.ring_barriers + warp * p.ring,
                  p.ring);
    NormedCursor cursor(p.weight, warp);
    if (lane == 0) {
      for (int i = 0; i < p.ring; ++i) ask_next(ring, cursor, p.weight, warp);
    }
    ptx::let_next_start();
    ptx::wait_for_previous();

    Epilogue epilogue(operands, p.input.count);
    if (warp == 0) epilogue.prepare(static_cast<int>(blockIdx.x));
    norm_into<T>(p, shared, operands.fault);
    const RowAddresses<kColumns> rows(shared.rows, shared.stride, p.input.count);
    constexpr int kParts = kWarps * kColumns / 8 * kWarp;
    int turn = 0;
    for (int tile = static_cast<int>(blockIdx.x); tile < p.weight.tiles;
         tile += static_cast<int>(gridDim.x), ++turn) {
      const bool finishes = warp == turn % kWarps;
      if (finishes && turn > 0) epilogue.prepare(tile);
      TileSums<kColumns> sums;
      clear<kColumns>(sums);
      for (int box = warp; box < p.weight.boxes; box += kWarps) {
        multiply_box<T, kColumns>(sums, ring.front(), rows, box);
        ring.pop();
        if (lane == 0) ask_next(ring, cursor, p.weight, warp);
      }
      // One half is written while the warp that finishes the tile before reads the other.
      float4* parts = shared.sums + turn % 2 * kParts;
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) {
        parts[(warp * (kColumns / 8) + i) * kWarp + lane] =
            make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
      }
      __syncthreads();
      if (!finishes) continue;
      add_warps<kColumns>(sums, parts);
      epilogue.finish(tile, sums);
    }
  }
}

// Queues it for up to 16 rows. Epilogue: of T and the rows it has room for.
template <typename T, template <typename, int> typename Epilogue, typename Operands>
void launch_normed_product(const Context& context, const NormedRows& input,
                           const WeightTiles& weight, const Operands& operands) {
  const NormedPlan plan = plan_normed(input.count, input.depth);
  const NormedProduct product{
      .input = input, .weight = weight, .ring = plan.ring, .stride = plan.stride};
  const dim3 grid(
      static_cast<unsigned>(std::min(weight.tiles, context.stream->num_multiprocessors())));
  const auto queue = [&](auto kernel) {
    launch_chained(kernel, grid, kThreads, static_cast<std::size_t>(plan.shared_bytes), context,
                   product, operands);
  };
  if (input.count <= 8) {
    queue(normed_product<T, 8, Epilogue<T, 8>>);
  } else {
    queue(normed_product<T, 16, Epilogue<T, 16>>);
  }
}

}  // namespace stagegate::cuda::narrow

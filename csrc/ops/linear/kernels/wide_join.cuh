#pragma once

#include "ops/linear/kernels/wide_multiply.cuh"

// The end of a tile whose depth is split: every block gives the others of its cluster the columns
// that they finish, and finishes its own with an epilogue.
namespace stagegate::cuda::wide {

// The columns that a block of the cluster finishes.
__device__ __forceinline__ int first_column(const Operands& operands, int rank) {
  return operands.rows * rank / operands.splits;
}

// The sums of a group into shared memory, column by column.
template <typename Tiling>
__device__ __forceinline__ void put_sums(const Sums<Tiling>& sum, const Shared<Tiling>& shared,
                                         int group) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = group * 64 + static_cast<int>(threadIdx.x) % kGroup / kWarp * 16 + lane / 4;
#pragma unroll
  for (int product = 0; product < Tiling::kProducts; ++product) {
#pragma unroll
    for (int i = 0; i < Tiling::kWidth / 2; ++i) {
      const int column = product * Tiling::kWidth + i / 4 * 8 + lane % 4 * 2 + i % 2;
      shared.sums(column)[row + i % 4 / 2 * 8] = sum[product][i];
    }
  }
}

template <typename Tiling>
__device__ __forceinline__ unsigned part_bytes(const Operands& operands, int rank) {
  const int columns = first_column(operands, rank + 1) - first_column(operands, rank);
  return static_cast<unsigned>(columns * Tiling::kSumStride * 4);
}

// Announces what the other blocks will send; before any of them can.
template <typename Tiling>
__device__ __forceinline__ void expect_parts(const Operands& operands, const Work& work,
                                             const Shared<Tiling>& shared) {
  ptx::init_barrier(shared.joined, 1);
  ptx::arrive_expecting(shared.joined,
                        part_bytes<Tiling>(operands, work.rank) * (operands.splits - 1));
}

// Sends every other block its columns; a thread a block.
template <typename Tiling>
__device__ __forceinline__ void send_parts(const Operands& operands, const Work& work,
                                           const Shared<Tiling>& shared, int rank) {
  if (rank >= operands.splits || rank == work.rank) return;
  const int columns = first_column(operands, rank + 1) - first_column(operands, rank);
  if (columns == 0) return;
  const int sender = work.rank < rank ? work.rank : work.rank - 1;  // among the others
  ptx::send_bulk(shared.received(sender * columns), shared.sums(first_column(operands, rank)),
                 part_bytes<Tiling>(operands, rank), shared.joined, rank);
}

// A column of the tile: rows lane, lane + 32, ... in each lane. The parts of the depth are added in
// one order, so the result is the same in every run.
template <typename Tiling, int kValues>
__device__ __forceinline__ void join_column(float (&value)[kValues], const Operands& operands,
                                            const Work& work, const Shared<Tiling>& shared,
                                            int column) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = first_column(operands, work.rank);
  const int columns = first_column(operands, work.rank + 1) - first;
  const float* part = shared.sums(column) + lane;
#pragma unroll
  for (int i = 0; i < kValues; ++i) value[i] = part[i * kWarp];
  float squares = Tiling::kNormed ? shared.sums(column)[Tiling::kRows] : 0.0f;
#pragma unroll 4
  for (int other = 0; other < operands.splits - 1; ++other) {
    const float* sums = shared.received(other * columns + column - first);
#pragma unroll
    for (int i = 0; i < kValues; ++i) value[i] += sums[lane + i * kWarp];
    if constexpr (Tiling::kNormed) squares += sums[Tiling::kRows];
  }
  if constexpr (Tiling::kNormed) {
    const float factor = rsqrtf(squares / operands.depth + operands.eps);
#pragma unroll
    for (int i = 0; i < kValues; ++i) value[i] *= factor;
  }
}

// done: a barrier of those who multiply. An epilogue loads what it wants of a column of the tile
// ahead, and stores the column.
template <typename Tiling, typename Epilogue>
__device__ __forceinline__ void join(const Sums<Tiling>& sum, SquaresOf<Tiling>& squares,
                                     const Operands& operands, const Epilogue& epilogue,
                                     const Work& work, const Shared<Tiling>& shared, int group,
                                     int done) {
  constexpr int kValues = Tiling::kRows / kWarp;
  constexpr int kWarps = Tiling::kMultipliers / kWarp;
  ptx::sync_threads(done, Tiling::kMultipliers);
  ptx::begin_in_cluster();  // the ring is read: its memory can receive
  int column = first_column(operands, work.rank) + static_cast<int>(threadIdx.x) / kWarp;
  const int last = first_column(operands, work.rank + 1);
  typename Epilogue::template Loaded<kValues> loaded;
  if (column < last) epilogue.load(loaded, work.tile, column);
  put_sums<Tiling>(sum, shared, group);
  squares.finish([&](int row, float total) { shared.sums(row)[Tiling::kRows] = total; });
  ptx::fence_shared_for_async();
  ptx::sync_threads(done, Tiling::kMultipliers);
  ptx::wait_for_cluster();
  if (threadIdx.x < kWarp) send_parts(operands, work, shared, static_cast<int>(threadIdx.x));
  __syncwarp();
  ptx::wait(shared.joined, 0);
  ptx::begin_in_cluster();  // nothing comes any more
#pragma unroll 1
  while (column < last) {
    float value[kValues];
    join_column<Tiling>(value, operands, work, shared, column);
    epilogue.store(loaded, work.tile, column, value);
    column += kWarps;
    if (column < last) epilogue.load(loaded, work.tile, column);
  }
  ptx::wait_for_cluster();  // what this block sent has left it
}

}  // namespace stagegate::cuda::wide

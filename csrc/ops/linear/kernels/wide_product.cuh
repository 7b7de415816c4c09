#pragma once

#include "ops/linear/kernels/wide_copy.cuh"
#include "ops/linear/kernels/wide_join.cuh"
#include "ops/linear/kernels/wide_multiply.cuh"

namespace stagegate::cuda::wide {

// Norm weights of the stages of a block, which no kernel of a step writes.
template <typename Tiling>
__device__ void load_norm(const Operands& operands, const Work& work,
                          const Shared<Tiling>& shared) {
  using Part = Pack<typename Tiling::Element>;
  const auto* norm = static_cast<const Part*>(operands.norm);
  const int first = work.first * kDepth / 8;
  for (int i = threadIdx.x; i < work.count * kDepth / 8; i += Tiling::kMultipliers) {
    Part part{};
    if (first + i < operands.depth / 8) part = norm[first + i];
    reinterpret_cast<Part*>(shared.norm)[i] = part;
  }
}

template <typename Tiling>
__device__ __forceinline__ void set_up(const Operands& operands, const Work& work,
                                       const Shared<Tiling>& shared) {
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tiling::kStages; ++stage) {
      ptx::init_barrier(&shared.full[stage], 1);
      ptx::init_barrier(&shared.empty[stage], Tiling::kMultipliers / kWarp);
    }
    if constexpr (Tiling::kSplit) expect_parts(operands, work, shared);
    ptx::fence_barriers();
  }
  __syncthreads();
}

constexpr int kDone = 1;  // a barrier of those who multiply

template <typename Tiling>
__device__ __forceinline__ void copy(const Operands& operands, const Work& work,
                                     const Shared<Tiling>& shared) {
  ptx::give_registers_back<Tiling::kCopyRegisters>();
  if (threadIdx.x == Tiling::kMultipliers) fill_ring(operands, work, shared);
  ptx::wait_for_previous();
  __syncwarp();
  if constexpr (Tiling::kSplit) {
    ptx::begin_in_cluster();
    ptx::wait_for_cluster();
    ptx::begin_in_cluster();
    ptx::wait_for_cluster();
  }
}

template <typename Tiling, typename Epilogue>
__device__ __forceinline__ void compute(const Operands& operands, const Epilogue& epilogue) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Shared<Tiling> shared(memory);
  const Work work(operands);
  const int group = static_cast<int>(threadIdx.x) / kGroup;
  set_up(operands, work, shared);
  ptx::let_next_start();
  if (group == Tiling::kGroups) {
    copy(operands, work, shared);
    return;
  }
  ptx::take_registers<Tiling::kProductRegisters>();
  if constexpr (Tiling::kNormed) {
    load_norm(operands, work, shared);
    ptx::sync_threads(kDone, Tiling::kMultipliers);
  }
  ptx::wait_for_previous();
  Sums<Tiling> sum = {};
  SquaresOf<Tiling> squares;
  multiply_work<Tiling>(sum, squares, work, shared, group);
  if constexpr (Tiling::kSplit) {
    join<Tiling>(sum, squares, operands, epilogue, work, shared, group, kDone);
  } else {
    squares.finish([&](int row, float total) {
      shared.factors[row] = rsqrtf(total / operands.depth + operands.eps);
    });
    ptx::sync_threads(kDone, Tiling::kMultipliers);
    epilogue.template store<Tiling>(sum, operands, work, shared, group);
  }
}

// A tile, or a part of one, a block; the parts of a tile are the blocks of a cluster.
template <typename Tiling, typename Epilogue>
__global__ void __launch_bounds__(Tiling::kThreads, Tiling::kBlocks)
    wide_kernel(const __grid_constant__ Operands operands,
                const __grid_constant__ Epilogue epilogue) {
  if constexpr (kIsHopper) compute<Tiling>(operands, epilogue);
}

}  // namespace stagegate::cuda::wide

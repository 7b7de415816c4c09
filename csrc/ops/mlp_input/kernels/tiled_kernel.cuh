#pragma once

#include "ops/mlp_input/kernels/tiled_multiply.cuh"
#include "ops/mlp_input/kernels/tiled_shape.cuh"
#include "ops/ptx_hopper.cuh"

// out = silu(rows · gateᵀ) · (rows · upᵀ) for sm_90a. Blocks stay and take tile after tile; one
// thread of a block has the copy engine fill a ring, and two warpgroups multiply from it.
namespace stagegate::cuda::tiled {

template <typename T, typename Tile>
__device__ __forceinline__ void load(const Operands<T>& operands, typename Tile::Shared& shared) {
  Place<Tile::kStages> place;
  place.parity = 1;  // nothing has to be released before the first round
  for (int tile = blockIdx.x; tile < operands.tiles(); tile += gridDim.x) {
    const Origin at = origin_of<Tile>(operands, tile);
    for (int i = 0; i < operands.depth_steps; ++i) {
      auto& stage = shared.stages[place.at];
      std::uint64_t* const full = &shared.full[place.at];
      ptx::wait(&shared.empty[place.at], place.parity);
      ptx::arrive_expecting(full, Tile::kStageBytes);
      ptx::copy_box(stage.rows, operands.rows, full, i * kDepth, at.row);
      ptx::copy_box(stage.gate, operands.weight, full, i * kDepth, at.column);
      ptx::copy_box(stage.up, operands.weight, full, i * kDepth, operands.width + at.column);
      place.advance();
    }
  }
}

template <typename Tile>
__device__ __forceinline__ void init_barriers(typename Tile::Shared& shared) {
  for (int stage = 0; stage < Tile::kStages; ++stage) {
    ptx::init_barrier(&shared.full[stage], 1);
    ptx::init_barrier(&shared.empty[stage], kWarpgroup / kWarp);
  }
  ptx::fence_barriers();
}

template <typename T, typename Tile>
__global__ __launch_bounds__(kThreads,
                             1) void tiled_kernel(const __grid_constant__ Operands<T> operands) {
  if constexpr (kIsHopper) {
    extern __shared__ __align__(1024) unsigned char memory[];
    auto& shared = *reinterpret_cast<typename Tile::Shared*>(memory);
    if (threadIdx.x == 0) init_barriers<Tile>(shared);
    __syncthreads();
    ptx::follow_previous_and_let_next_start();
    if (threadIdx.x < kWarpgroup) {
      ptx::give_registers_back<kLoaderRegisters>();
      if (threadIdx.x == 0) load<T, Tile>(operands, shared);
    } else {
      ptx::take_registers<kMultiplierRegisters>();
      Multiplier<T, Tile>{operands, shared, static_cast<int>(threadIdx.x) / kWarpgroup - 1}.run();
    }
  }
}

}  // namespace stagegate::cuda::tiled

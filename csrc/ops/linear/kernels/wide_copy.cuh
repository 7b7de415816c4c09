#pragma once

#include "ops/linear/kernels/wide_tiling.cuh"
#include "ops/ptx_hopper.cuh"

// What the warpgroup does that does not multiply: one thread of it fills the ring.
namespace stagegate::cuda::wide {

// The first turn of weights does not wait for the kernel before: they are no kernel's result.
template <typename Tiling>
__device__ void fill_ring(const Operands& operands, const Work& work,
                          const Shared<Tiling>& shared) {
  const std::uint64_t once = ptx::evict_first();
  const auto copy_weight = [&](int step, int stage) {
    ptx::arrive_expecting(&shared.full[stage], Tiling::kStageBytes);
    ptx::copy_box(shared.weight(stage), operands.weight, &shared.full[stage], once,
                  (work.first + step) * kDepth, 0, 0, work.tile * operands.tile_boxes);
  };
  const auto copy_x = [&](int step, int stage) {
    ptx::copy_box(shared.x(stage), operands.x, &shared.full[stage], (work.first + step) * kDepth,
                  0);
  };
  const int ahead = min(work.count, Tiling::kStages);
  for (int step = 0; step < ahead; ++step) copy_weight(step, step);
  ptx::wait_for_previous();
  for (int step = 0; step < ahead; ++step) copy_x(step, step);
  Turn<Tiling::kStages> turn;
  for (int step = ahead; step < work.count; ++step) {
    ptx::wait(&shared.empty[turn.stage], turn.parity);
    copy_weight(step, turn.stage);
    copy_x(step, turn.stage);
    turn.next();
  }
}

}  // namespace stagegate::cuda::wide

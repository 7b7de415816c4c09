#pragma once

#include <cstdint>

#include "ops/mlp_input/kernels/tiled_shape.cuh"
#include "ops/ptx_hopper.cuh"
#include "ops/wgmma.cuh"

// A warpgroup of the tiled kernel that multiplies. The two take tiles in turns, so that one has the
// tensor cores while the other activates and stores.
namespace stagegate::cuda::tiled {

template <typename T, typename Tile>
struct Multiplier {
  static constexpr int kColumns = Tile::kColumns;
  static constexpr int kTurns = 1;  // named barriers, one a warpgroup
  static constexpr int kOwn = 3;    // likewise
  // The sums of the gate, then those of up.
  using Sums = float[kParts][kColumns];

  const Operands<T>& operands;
  typename Tile::Shared& shared;
  int group;  // which of the warpgroups
  Place<Tile::kStages> place{};

  static __device__ __forceinline__ int thread() {
    return static_cast<int>(threadIdx.x) % kWarpgroup;
  }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  // A warpgroup waits until the other has seen all stages of its tile filled: a barrier tells a
  // phase from the next one, but not from the one after that.
  __device__ __forceinline__ void wait_turn() const {
    ptx::sync_threads(kTurns + group, kMultipliers * kWarpgroup);
  }
  __device__ __forceinline__ void pass_turn() const {
    ptx::arrive_threads(kTurns + (group + 1) % kMultipliers, kMultipliers * kWarpgroup);
  }

  __device__ __forceinline__ void release(int stage) const {
    if (lane() == 0) ptx::arrive(&shared.empty[stage]);
  }

  __device__ __forceinline__ void multiply_stage(const typename Tile::Stage& stage, bool adds,
                                                 Sums& sum) const {
    const std::uint64_t rows = wgmma::describe(stage.rows);
    const std::uint64_t weight = wgmma::describe(stage.gate);
    constexpr int kPartBytes = kPartRows * kDepth * sizeof(T);
    wgmma::fence();
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        // A step is 32 bytes further in a row; addresses are in units of 16 bytes.
        wgmma::multiply<T>(sum[part], rows + part * (kPartBytes >> 4) + step * 2, weight + step * 2,
                           adds || step > 0);
      }
    }
    wgmma::commit();
  }

  // more: the other warpgroup has a tile after this one.
  __device__ __forceinline__ void multiply(bool more, Sums& sum) {
    int before = 0;
    for (int i = 0; i < operands.depth_steps; ++i) {
      ptx::wait(&shared.full[place.at], place.parity);
      multiply_stage(shared.stages[place.at], i > 0, sum);
      if (more && i + 1 == operands.depth_steps) pass_turn();
      wgmma::wait<1>();
      if (i > 0) release(before);
      before = place.at;
      place.advance();
    }
    wgmma::wait<0>();
#pragma unroll
    for (int i = 0; i < kParts * kColumns; ++i) wgmma::hold(sum[i / kColumns][i % kColumns]);
    release(before);
  }

  __device__ __forceinline__ void add_bias(int first_column, float (&sum)[kColumns]) const {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) {
      const int column = first_column + i / 4 * 8 + lane() % 4 * 2 + i % 2;
      if (column >= operands.width) continue;
      sum[i] += to_float(operands.bias[column]);
      sum[kColumns / 2 + i] += to_float(operands.bias[operands.width + column]);
    }
  }

  static __device__ __forceinline__ float activate(float gate, float up) {
    constexpr float kLog2E = 1.44269504f;
    return gate * ptx::reciprocal(1.0f + ptx::exp2(-kLog2E * gate)) * up;
  }

  // 8 columns of the result for a thread's two rows of a part.
  static __device__ __forceinline__ void activate_eight(const float (&sum)[kColumns], int eight,
                                                        std::uint32_t* pairs) {
    const float* const gate = sum + eight * 4;
    const float* const up = gate + kColumns / 2;
    pairs[0] = ptx::pair<T>(activate(gate[0], up[0]), activate(gate[1], up[1]));
    pairs[1] = ptx::pair<T>(activate(gate[2], up[2]), activate(gate[3], up[3]));
  }

  // Where 8 columns of a row lie in the boxes of a part, as the copy engine wants them.
  __device__ __forceinline__ T* place_of(int row, int eight) const {
    constexpr int kEights = Tile::kBox / 8;
    int within = eight % kEights;
    if constexpr (Tile::kBox == 64) within ^= row & 7;
    if constexpr (Tile::kBox == 32) within ^= row >> 1 & 3;
    if constexpr (Tile::kBox == 16) within ^= row >> 2 & 1;
    return shared.out[group] + (eight / kEights * kPartRows + row) * Tile::kBox + within * 8;
  }

  // Writes the activated sums of a part to where the copy engine takes them from.
  __device__ __forceinline__ void activate_part(const float (&sum)[kColumns]) const {
    constexpr int kEights = kColumns / 8;
    const int row = thread() / kWarp * 16 + lane() % 16;
#pragma unroll
    for (int eight = 0; eight + 1 < kEights; eight += 2) {
      std::uint32_t pairs[4];
      activate_eight(sum, eight, pairs);
      activate_eight(sum, eight + 1, pairs + 2);
      ptx::store_matrices(place_of(row, eight + lane() / 16), pairs);
    }
    if constexpr (kEights % 2 == 1) {
      std::uint32_t pairs[2];
      activate_eight(sum, kEights - 1, pairs);
      ptx::store_matrices(place_of(row, kEights - 1), pairs);
    }
  }

  __device__ __forceinline__ void store(const float (&sum)[kColumns], const Origin& at) const {
    if (thread() == 0) ptx::wait_stores_read();
    ptx::sync_threads(kOwn + group, kWarpgroup);
    activate_part(sum);
    ptx::fence_shared_for_async();
    ptx::sync_threads(kOwn + group, kWarpgroup);
    if (thread() != 0) return;
#pragma unroll
    for (int first = 0; first < kColumns; first += Tile::kBox) {
      if (at.column + first >= operands.width) break;
      ptx::store_box(operands.out, shared.out[group] + first * kPartRows, at.column + first,
                     at.row);
    }
    ptx::commit_stores();
  }

  __device__ __forceinline__ void run() {
    const int blocks = static_cast<int>(gridDim.x);
    int turn = 0;
    for (int tile = blockIdx.x; tile < operands.tiles(); tile += blocks, ++turn) {
      if (turn % kMultipliers != group) {
        place.advance(operands.depth_steps);
        continue;
      }
      const Origin at = origin_of<Tile>(operands, tile);
      if (turn > 0) wait_turn();
      Sums sum;
      multiply(tile + blocks < operands.tiles(), sum);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const int row = at.row + part * kPartRows;
        if (row >= operands.count) break;
        if (operands.bias != nullptr) add_bias(at.column, sum[part]);
        store(sum[part], {row, at.column});
      }
    }
    if (thread() == 0) ptx::wait_stores();
  }
};

}  // namespace stagegate::cuda::tiled

#pragma once

#include "ops/linear/kernels/weight_ring.cuh"

// How a block of threads multiplies its tiles of a weight: its warps take the boxes in turn, so
// that what is on the way at any time lies close together in memory, and add their sums up at the
// end of each tile.
namespace stagegate::cuda::narrow {

// The boxes of one block: some tiles, and a range of the depth.
struct BoxRange {
  int first_tile;
  int tile_step;
  int tiles;
  int first_box;
  int boxes;
};

// The boxes of one warp, one after another: every eighth, across the ends of tiles.
struct BoxCursor {
  int turn = 0;  // tile among those of the block
  int box;       // in the range

  __device__ BoxCursor(const BoxRange& range, int warp) : box(warp) { wrap(range); }
  __device__ void advance(const BoxRange& range) {
    box += kWarps;
    wrap(range);
  }

 private:
  __device__ void wrap(const BoxRange& range) {
    while (box >= range.boxes && turn < range.tiles) {
      box -= range.boxes;
      ++turn;
    }
  }
};

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

// One warp's part in it. kDepth: boxes of its ring.
template <typename T, int kDepth>
class TileLoop {
 public:
  // slots: of all warps.
  __device__ TileLoop(const WeightTiles& weight, const BoxRange& range, std::uint8_t* slots)
      : weight_(weight),
        range_(range),
        ring_(slots + warp() * kDepth * kBoxBytes),
        next_(range, warp()) {}

  // Asks for as many boxes as the ring holds.
  __device__ void fill() {
    for (int i = 0; i < kDepth; ++i) ask();
  }

  // sums: float4 [2][warps][fragments][lanes] in shared memory. Of each turn, prepare(turn) is
  // called before and finish(turn, sums) after it, in the lanes of the warp that finishes it.
  template <int kColumns, typename Prepare, typename Finish>
  __device__ void run(const RowAddresses<kColumns>& rows, float4* sums, Prepare prepare,
                      Finish finish) {
    constexpr int kFragments = kColumns / 8;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    BoxCursor mine(range_, warp());
    for (int turn = 0; turn < range_.tiles; ++turn) {
      const bool finishes = warp() == turn % kWarps;
      if (finishes) prepare(turn);
      TileSums<kColumns> own;
      clear<kColumns>(own);
      for (; mine.turn == turn; mine.advance(range_)) {
        multiply_box<T, kColumns>(own, ring_.front(), rows, mine.box);
        ring_.pop();
        ask();
      }
      // One half is written while the warp that finishes the turn before reads the other.
      float4* parts = sums + turn % 2 * kWarps * kFragments * kWarp;
#pragma unroll
      for (int i = 0; i < kFragments; ++i) {
        parts[(warp() * kFragments + i) * kWarp + lane] =
            make_float4(own[i][0], own[i][1], own[i][2], own[i][3]);
      }
      __syncthreads();
      if (!finishes) continue;
      add_warps<kColumns>(own, parts);
      finish(turn, own);
    }
  }

 private:
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

  __device__ void ask() {
    if (next_.turn < range_.tiles) {
      ring_.ask(weight_, range_.first_tile + next_.turn * range_.tile_step,
                range_.first_box + next_.box);
      next_.advance(range_);
    }
    ring_.commit();
  }

  const WeightTiles& weight_;
  const BoxRange& range_;
  WarpRing<T, kDepth> ring_;
  BoxCursor next_;
};

}  // namespace stagegate::cuda::narrow

#pragma once

#include "ops/linear/kernels/weight_ring.cuh"

// How a block of threads multiplies its tiles of a weight: its warps take the boxes in turn, so
// that what is on the way at any time lies close together in memory, and add their sums up at the
// end of each tile.
namespace stagegate::cuda::narrow {

// The boxes of one block: those of some tiles.
struct BoxRange {
  int first_tile;
  int tile_step;
  int tiles;
  int boxes;  // of a tile
};

// The boxes of one warp, one after another: every sixteenth, across the ends of tiles.
struct BoxCursor {
  int turn = 0;  // tile among those of the block
  int box;       // of the tile

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

// Where the warps of a block put their sums of a tile, for one of them to add up: in turns of two,
// so that a warp goes on to the next tile while others are at this one.
struct SharedSums {
  float4* parts;            // [2][warps][fragments][lanes]
  std::uint64_t* full;      // [2]: all warps have put theirs there
  std::uint64_t* finished;  // [2]: they have been added up

  // barriers: kSumsBarriers of them.
  __device__ SharedSums(void* parts_at, std::uint64_t* barriers)
      : parts(static_cast<float4*>(parts_at)), full(barriers), finished(barriers + 2) {}

  // One thread calls it before the block synchronises.
  __device__ void init() const {
    for (int half = 0; half < 2; ++half) {
      ptx::init_barrier(full + half, kWarps);
      ptx::init_barrier(finished + half, 1);
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

// Activations that are all in shared memory: row r begins at rows + r * stride. Rows past the last
// repeat it, and their sums are discarded.
template <typename T, int kColumns>
class StagedRows {
 public:
  __device__ StagedRows(const std::uint8_t* rows, int stride, int count) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
      of_[i] = rows + min(i * 8 + lane % 8, count - 1) * stride + lane / 8 * 16;
    }
  }

  // Nothing of a box has to come with it.
  __device__ void ride(std::uint32_t, int) const {}
  // Where multiply_box() reads what meets a box.
  __device__ auto meeting(const std::uint8_t*, int box) const {
    return [this, box](int fragment, int half) {
      return of_[fragment] + box * (kBoxColumns * 2) + half * 64;
    };
  }

 private:
  const std::uint8_t* of_[kColumns / 8];
};

// Activations [count, depth] in global memory, of which those that meet a box come with it, behind
// it in its slot.
template <typename T, int kColumns>
class RidingRows {
 public:
  __device__ RidingRows(const void* x, int count, int depth, int box_bytes)
      : x_(static_cast<const T*>(x)),
        count_(count),
        depth_(depth),
        box_bytes_(in_each_lane(box_bytes)) {}

  __device__ void ride(std::uint32_t slot, int box) const {
    constexpr int kPack = 16 / sizeof(T);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int column = box * kBoxColumns + lane % 8 * kPack;
    const bool present = column < depth_;
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      const int row = lane / 8 + 4 * i;
      if (row >= count_) continue;
      ptx::copy_async(slot + box_bytes_ + swizzled(row, lane % 8),
                      x_ + static_cast<std::int64_t>(row) * depth_ + (present ? column : 0),
                      present);
    }
  }
  __device__ auto meeting(const std::uint8_t* slot, int) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    return [rows = slot + box_bytes_, last = count_ - 1, lane](int fragment, int half) {
      return rows + swizzled(min(fragment * 8 + lane % 8, last), half * 4 + lane / 8);
    };
  }

 private:
  const T* x_;
  int count_;
  int depth_;
  int box_bytes_;
};

// One warp's part in it. kDepth: boxes of its ring.
template <typename T, int kDepth>
class TileLoop {
 public:
  // slots: of all warps.
  __device__ TileLoop(const WeightTiles& weight, const BoxRange& range, std::uint8_t* slots,
                      int slot_bytes)
      : weight_(weight),
        range_(range),
        ring_(slots + warp() * kDepth * slot_bytes, slot_bytes),
        next_(range, warp()),
        until_next_(max((range.tiles * range.boxes - warp() + kWarps - 1) / kWarps, 1)) {}

  // Asks for as many boxes as the ring holds, without activations.
  __device__ void fill() {
    for (int i = 0; i < kDepth; ++i) {
      ask([](std::uint32_t, int) {});
    }
  }
  // The activations of the boxes of fill().
  template <typename Rows>
  __device__ void fill_rows(const Rows& rows) {
    BoxCursor cursor(range_, warp());
    for (int i = 0; i < kDepth; ++i) {
      if (cursor.turn < range_.tiles) {
        rows.ride(ring_.address(i), cursor.box);
        cursor.advance(range_);
      }
      ptx::commit_copies();
    }
  }

  // Of each turn, prepare(turn) is called before and finish(turn, sums) after it, in the lanes of
  // the warp that finishes it.
  template <int kColumns, typename Rows, typename Prepare, typename Finish>
  __device__ void run(const Rows& rows, const SharedSums& sums, Prepare prepare, Finish finish) {
    constexpr int kFragments = kColumns / 8;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    BoxCursor mine(range_, warp());
    for (int turn = 0; turn < range_.tiles; ++turn) {
      const bool finishes = warp() == turn % kWarps;
      if (finishes) prepare(turn);
      TileSums<kColumns> own, odd;
      clear<kColumns>(own);
      clear<kColumns>(odd);
      for (; mine.turn == turn; mine.advance(range_)) {
        const std::uint8_t* slot = ring_.front();
        const BoxFragments<T, kColumns> fragments(slot, rows.meeting(slot, mine.box));
        ring_.pop();
        ask([&](std::uint32_t to, int box) { rows.ride(to, box); });
        fragments.multiply(own, odd);
      }
      const int half = turn % 2;
      float4* parts = sums.parts + half * kWarps * kFragments * kWarp;
      if (turn >= 2) ptx::wait(sums.finished + half, (turn / 2 - 1) % 2);
#pragma unroll
      for (int i = 0; i < kFragments; ++i) {
        parts[(warp() * kFragments + i) * kWarp + lane] =
            make_float4(own[i][0] + odd[i][0], own[i][1] + odd[i][1], own[i][2] + odd[i][2],
                        own[i][3] + odd[i][3]);
      }
      __syncwarp();
      if (lane == 0) ptx::arrive(sums.full + half);
      if (!finishes) continue;
      ptx::wait(sums.full + half, turn / 2 % 2);
      add_warps<kColumns>(own, parts);
      __syncwarp();
      if (lane == 0) ptx::arrive(sums.finished + half);
      finish(turn, own);
    }
  }

 private:
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

  // ride(slot, box) asks for what comes with a box.
  template <typename Ride>
  __device__ void ask(Ride ride) {
    if (next_.turn < range_.tiles) {
      const int tile = range_.first_tile + next_.turn * range_.tile_step;
      ride(ring_.ask(weight_, tile, next_.box), next_.box);
      next_.advance(range_);
    }
    ptx::commit_copies();
    // The next kernel fills its rings when all boxes of this one are on the way: two that read at
    // once are slower.
    if (--until_next_ != 0) return;
    __syncwarp();
    ptx::let_next_start();
  }

  const WeightTiles& weight_;
  const BoxRange& range_;
  WarpRing<T, kDepth> ring_;
  BoxCursor next_;
  int until_next_;  // boxes to ask for before the next kernel may start
};

}  // namespace stagegate::cuda::narrow

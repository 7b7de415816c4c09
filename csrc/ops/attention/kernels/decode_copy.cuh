#pragma once

#include <cuda.h>

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/decode_work.cuh"
#include "ops/ptx.cuh"
#include "ops/ptx_hopper.cuh"

// How a warp of the decode kernel copies a unit of keys and values to shared memory: row by row,
// wherever each lies, or by the copy engine, where they lie in one block of the cache.
namespace stagegate::cuda {
namespace {

constexpr int kStages = 2;  // units of a warp in shared memory

// A tile of keys or values is in parts of 64 dimensions, as the copy engine puts them. Each has its
// part of all rows, one after another, in pieces of 16 bytes that are spread so that those of 8
// neighbouring rows, which one instruction reads, lie in 32 different banks.
constexpr int kPartDim = 64;
template <int kDim>
__device__ __forceinline__ int placed(int row, int piece) {
  return (piece / 8 * kKeys + row) * kPartDim + ((piece % 8 ^ (row & 7)) << 3);
}

template <typename T, int kDim>
struct alignas(1024) Ring {
  T k[kStages][kKeys * kDim];
  T v[kStages][kKeys * kDim];
};

// Keys and values in global memory.
struct Cache {
  const void* k;
  const void* v;
  unsigned k_bytes, v_bytes;  // from slot to slot
  int head_tiles;             // that share a key head
};

// The same for the copy engine: [kv_heads · head_dim / 64, slots, 64] in boxes of
// [head_dim / 64, kKeys, 64].
struct Boxes {
  CUtensorMap k;
  CUtensorMap v;
};

// How a warp copies a unit.
enum class By { kRows, kBoxes };

// Where the keys of a unit lie.
struct Located {
  bool exists;
  // For copies of rows lane i < 16 has the slot of key i, -1 if there is no such key. For boxes
  // every lane has the first slot, -1 if its block is wrong.
  std::int32_t slot;
  int kv_head;
  int settled;  // keys that no kernel of this step writes
};

// Copies of rows, which the lanes of a warp share. The groups of copies in flight count the stages.
template <typename T, int kDim>
struct RowCopies {
  static constexpr bool kTakesFirstSlot = false;
  static constexpr int kPieces = kDim / 8;             // of 16 bytes in a row
  static constexpr int kRowsAtOnce = kWarp / kPieces;  // that a warp copies with one instruction
  static constexpr int kTimes = kKeys / kRowsAtOnce;

  const Cache& cache;
  Ring<T, kDim>& ring;
  bool late = false;  // something was queued after the group that counts for it
  // A step comes back to a key after all weights and keys of the model went through the cache.
  std::uint64_t policy = ptx::evict_first();

  // Queues the rows that come i-th, if they are in [from, to). A row without a slot becomes zeros.
  __device__ __forceinline__ void copy_rows(int i, int stage, const Located& unit, int from = 0,
                                            int to = kKeys) const {
    const unsigned piece = threadIdx.x % kPieces;
    const int row = static_cast<int>(threadIdx.x % kWarp) / kPieces + i * kRowsAtOnce;
    const std::int32_t slot = __shfl_sync(0xffffffffu, unit.slot, row);
    if (row < from || row >= to) return;
    const bool present = slot >= 0;
    const std::uint64_t at = static_cast<unsigned>(present ? slot : 0);
    const unsigned within = static_cast<unsigned>(unit.kv_head) * (kDim * sizeof(T)) + piece * 16;
    const int place = placed<kDim>(row, static_cast<int>(piece));
    const char* const k = static_cast<const char*>(cache.k) + within;
    const char* const v = static_cast<const char*>(cache.v) + within;
    ptx::copy_async(ring.k[stage] + place, k + at * cache.k_bytes, present, policy);
    ptx::copy_async(ring.v[stage] + place, v + at * cache.v_bytes, present, policy);
  }

  __device__ __forceinline__ void copy(int stage, const Located& unit) const {
    if (unit.exists) {
#pragma unroll
      for (int i = 0; i < kTimes; ++i) copy_rows(i, stage, unit);
    }
    ptx::commit_copies();
  }

  // Queues what is settled of a unit, or the rest of it. Done a few times, so it is a loop.
  __device__ __forceinline__ void copy_part(int stage, const Located& unit, bool settled) {
    const int from = settled ? 0 : max(unit.settled, 0);
    const int to = !unit.exists ? 0 : settled ? unit.settled : kKeys;
#pragma unroll 2
    for (int i = 0; i < kTimes; ++i) copy_rows(i, stage, unit, from, to);
    ptx::commit_copies();
    late = late || !settled;
  }

  // Waits for the oldest unit.
  __device__ __forceinline__ void wait(int, int) {
    if (late) ptx::wait_copies<0>();
    late = false;
    ptx::wait_copies<kStages - 1>();
    __syncwarp();  // it is there for all lanes
  }
};

// Copies of boxes, which one lane starts. A barrier for each stage counts their bytes.
template <typename T, int kDim>
struct BoxCopies {
  static constexpr bool kTakesFirstSlot = true;

  const Boxes& boxes;
  Ring<T, kDim>& ring;
  std::uint64_t* full;  // [stage]
  int slots;            // of the cache
  unsigned parity = 0;
  std::uint64_t policy = ptx::evict_first();

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  // Before the first copy.
  __device__ __forceinline__ void begin() const {
    if (lane() == 0) {
#pragma unroll
      for (int stage = 0; stage < kStages; ++stage) ptx::init_barrier(full + stage, 1);
      ptx::fence_barriers();
    }
    __syncwarp();
  }

  // Behind the slots of the cache there are zeros.
  __device__ __forceinline__ void copy(int stage, const Located& unit) const {
    if (!unit.exists || lane() != 0) return;
    constexpr unsigned kBytes = 2 * kKeys * kDim * sizeof(T);
    const int slot = unit.slot >= 0 ? unit.slot : slots;
    const int part = unit.kv_head * (kDim / kPartDim);
    ptx::arrive_expecting(full + stage, kBytes);
    ptx::copy_box(ring.k[stage], boxes.k, full + stage, policy, 0, slot, part);
    ptx::copy_box(ring.v[stage], boxes.v, full + stage, policy, 0, slot, part);
  }

  // A box is copied whole: early if all of it is settled.
  __device__ __forceinline__ void copy_part(int stage, const Located& unit, bool settled) const {
    if ((unit.settled >= kKeys) == settled) copy(stage, unit);
  }

  // Waits for the unit in a stage, of which `keys` are there. What lies behind them in the cache
  // may be no number, which a weight of zero does not undo.
  __device__ __forceinline__ void wait(int stage, int keys) {
    constexpr int kPieces = kDim / 8;
    ptx::wait(full + stage, parity);
    if (stage == kStages - 1) parity ^= 1u;
    if (keys >= kKeys) return;
#pragma unroll 1
    for (int i = keys * kPieces + lane(); i < kKeys * kPieces; i += kWarp) {
      T* const piece = ring.v[stage] + placed<kDim>(i / kPieces, i % kPieces);
      *reinterpret_cast<uint4*>(piece) = uint4{};
    }
    ptx::fence_shared_for_async();  // the next copy comes behind the zeros
    __syncwarp();
  }
};

}  // namespace
}  // namespace stagegate::cuda

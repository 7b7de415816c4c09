#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/kernels/prefill_hopper_shape.cuh"
#include "ops/wgmma.cuh"

// What a warpgroup of the Hopper prefill kernel does with its 64 rows and one tile of keys and
// values. A thread holds rows lane / 4 and that plus 8 of its warp's 16; see wgmma.cuh.
namespace stagegate::cuda {
namespace {

constexpr float kLargest = 3.402823466e38f;

// The running softmax of the two rows of a thread.
struct Softmax {
  // What exponents are relative to: a scaled score as rounded, so that it cancels exactly. At most
  // kSlack below the largest score so far.
  float offset[2] = {-kLargest,
                     -kLargest};  // a row may see nothing yet: finite, so that 0 · it is 0
  float total[2] = {0.0f, 0.0f};  // of this thread's columns
};

// How far scores may exceed the offset, as exponents of two: weights of up to 256 cost nothing, and
// a sum is rescaled only where a row's largest score has grown by more.
constexpr float kSlack = 8.0f;

template <int kCount>
__device__ __forceinline__ void hold(float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) wgmma::hold(values[i]);
}

// Starts score = q · kᵀ.
template <typename T, int kDim>
__device__ __forceinline__ void start_scores(const T* group_q, const T* tile_k,
                                             float (&score)[kKeys / 2]) {
  using S = Shape<kDim>;
  const std::uint64_t q = wgmma::describe(group_q);
  const std::uint64_t k = wgmma::describe(tile_k, S::kKeyStep);
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    // A step is 32 bytes further in the rows of its half; addresses are in units of 16 bytes.
    const int half = step / 4;
    const int within = step % 4 * 2;
    wgmma::multiply<T>(score, q + (half * S::kRows * kRowBytes >> 4) + within,
                       k + (half * kPatternBytes >> 4) + within, step > 0);
  }
}

// Starts sum += weights · v; adds: false starts at zero.
template <typename T, int kDim>
__device__ __forceinline__ void start_values(const std::uint32_t (&weights)[kKeys / 16][4],
                                             const T* tile_v, float (&sum)[kDim / 2], bool adds) {
  constexpr unsigned kKeyStep = Shape<kDim>::kKeyStep;
  const std::uint64_t v = wgmma::describe(tile_v, kKeyStep, kPatternBytes);
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    wgmma::multiply<T, true>(sum, weights[step], v + (step * 2 * kKeyStep >> 4), adds || step > 0);
  }
}

// Leaves out the keys from `seen` on, of a tile whose first key is at position `first`.
__device__ __forceinline__ void leave_out(int first, const int (&seen)[2],
                                          float (&score)[kKeys / 2]) {
  const int column = first + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    if (column + i / 4 * 8 + i % 2 >= seen[i / 2 % 2]) score[i] = -INFINITY;
  }
}

// Scores to weights. decay: what the sums so far are multiplied with. True where, for a thread of
// the warp, that is not 1.
__device__ __forceinline__ bool weigh(float scale_log2, float (&score)[kKeys / 2], Softmax& state,
                                      float (&decay)[2]) {
  float highest[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = score[2 * half];
#pragma unroll
    for (int i = 0; i < kKeys / 2; i += 4) {
      most = fmaxf(most, fmaxf(score[i + 2 * half], score[i + 2 * half + 1]));
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    highest[half] = most * scale_log2;
  }
  const bool grows = highest[0] > state.offset[0] + kSlack || highest[1] > state.offset[1] + kSlack;
  const bool rescales = __any_sync(0xffffffffu, grows);
  decay[0] = decay[1] = 1.0f;
  if (rescales) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float offset = fmaxf(state.offset[half], highest[half]);
      decay[half] = ptx::exp2(state.offset[half] - offset);
      state.offset[half] = offset;
      state.total[half] *= decay[half];
    }
  }
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    const int half = i / 2 % 2;
    score[i] = ptx::exp2(fmaf(score[i], scale_log2, -state.offset[half]));
  }
  float added[2][2] = {};  // two chains each
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) added[i / 2 % 2][i % 2] += score[i];
  state.total[0] += added[0][0] + added[0][1];
  state.total[1] += added[1][0] + added[1][1];
  return rescales;
}

// Weights as the operand of the product with the values.
template <typename T>
__device__ __forceinline__ void round_weights(const float (&score)[kKeys / 2],
                                              std::uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
  for (int i = 0; i < kKeys / 2; i += 2) {
    weights[i / 8][i / 2 % 4] = ptx::pair<T>(score[i], score[i + 1]);
  }
}

template <int kCount>
__device__ __forceinline__ void rescale(const float (&decay)[2], float (&sum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) sum[i] *= decay[i / 2 % 2];
}

}  // namespace
}  // namespace stagegate::cuda

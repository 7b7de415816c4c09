#pragma once

#include "ops/sampling/philox.h"
#include "ops/sampling/sampling_row.cuh"
#include "ops/sampling/select.cuh"

// What the kernels of sample() share: their arguments, partial results, and how a row is read.
namespace stagegate::cuda::sampling {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 512;
// Four neighbouring tokens share a block of noise, so one thread takes them.
constexpr int kQuad = kTokensPerBlock;
constexpr int kPart = 2 * kThreads * kQuad;

constexpr std::uint32_t kInfinityBits = 0x7f800000;
constexpr std::uint32_t kNobody = 0xffffffff;
// The most likely token of a row takes no longer: its p is 1 and -log(u) at most 33 log(2).
constexpr double kLongestRace = 23.0;
// A token below exp(this) has -log(u) / p above kLongestRace whatever its noise: u < 1 - 2^-33.
constexpr float kHopeless = -27.0f;

// The orders that tokens are selected by; the third dimension of the grids.
enum Selection : unsigned { kDraw = 0, kTop = 1 };

struct Winner {
  double time;
  std::uint32_t id;
};

struct RowState {
  std::uint32_t blocks_done;
  std::uint32_t listed;
  // Buckets whose tokens are listed; those before them are in.
  int first_bucket;
  int last_bucket;
  bool cut_count;     // top-k leaves something out
  Word count_before;  // tokens before the first listed bucket
  Word mass_before;   // and their mass
  Word mass;          // of all tokens
};

struct Arguments {
  const float* logits;
  int first_row;  // of this turn
  std::uint32_t vocab;
  std::uint32_t parts;  // of kPart tokens
  bool aligned;         // rows of the logits begin at multiples of 16 bytes
  bool logprobs;
  std::uint32_t num_top;
  int id_bits;
  double mass_scale;
  SamplingParameters in;
  std::int32_t* token_ids;
  float* token_logprobs;
  std::int32_t* top_ids;
  float* top_logprobs;
  Fault* fault;
  // Scratch; B is the number of rows of a turn.
  std::uint32_t race_blocks;
  std::int64_t pitch;     // of adjusted
  float* adjusted;        // [B, pitch]
  Word* best;             // [B, parts], of the adjusted logits
  float* part_highest;    // [B, parts], of the given logits
  double* part_sum;       // [B, parts], of exp(logit - part_highest)
  RowState* states;       // [2, B]
  std::uint32_t* counts;  // [2, B, kBuckets]
  Word* masses;           // [B, kBuckets]
  std::uint32_t* listed;  // [2, B, V]
  Winner* winners;        // [B, race_blocks]
  Word* chosen;           // [B, num_top]
};

// The row a block works on: `local` within the turn.
struct BlockRow {
  int local;
  std::int64_t index;
  const float* given;
};

__device__ inline BlockRow block_row(const Arguments& a, unsigned local) {
  const std::int64_t index = a.first_row + static_cast<std::int64_t>(local);
  return {static_cast<int>(local), index, a.logits + index * a.vocab};
}

// What a row asks for, read by one thread for its block.
__device__ inline const SamplingRow& shared_row(const Arguments& a, std::int64_t index) {
  __shared__ SamplingRow row;
  if (threadIdx.x == 0) row = row_of(a.in, index);
  __syncthreads();
  return row;
}

// Four tokens from `first` on; -inf past the end.
__device__ inline void load_quad(const float* row, std::uint32_t first, std::uint32_t vocab,
                                 bool aligned, float (&values)[kQuad]) {
  if (aligned && first + kQuad <= vocab) {
    const float4 pack = *reinterpret_cast<const float4*>(row + first);
    values[0] = pack.x;
    values[1] = pack.y;
    values[2] = pack.z;
    values[3] = pack.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < kQuad; ++i) {
    values[i] = first + i < vocab ? row[first + i] : -INFINITY;
  }
}

__device__ inline Word best_of_row(const Arguments& a, int local) {
  Word best = 0;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += blockDim.x) {
    best = max(best, a.best[local * static_cast<std::int64_t>(a.parts) + i]);
  }
  return block_reduce<Maximum>(best);
}

__device__ inline float highest_given(const Arguments& a, int local) {
  float highest = -INFINITY;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += blockDim.x) {
    highest = fmaxf(highest, a.part_highest[local * static_cast<std::int64_t>(a.parts) + i]);
  }
  return block_reduce<Maximum>(highest);
}

// The logits a row is drawn from, and what brings them to the scale of the draw.
struct Scaled {
  const float* logits;
  bool aligned;
  float highest;
  float temperature;
  std::uint32_t longest;  // float bits of the distance that min-p allows

  __device__ float operator()(float logit) const {
    return __fdiv_rn(__fsub_rn(logit, highest), temperature);
  }
};

// At most 0, so the bits of the absolute value are in the order of the distance; -inf and NaN are
// the largest.
__device__ inline std::uint32_t distance_bits(float scaled) {
  return __float_as_uint(fabsf(scaled));
}

__device__ inline Scaled scaled_logits(const Arguments& a, const BlockRow& at,
                                       const SamplingRow& row, float highest) {
  Scaled scaled{at.given, a.aligned, highest, row.temperature, kInfinityBits - 1};
  if (row.adjusted()) {
    scaled.logits = a.adjusted + at.local * a.pitch;
    scaled.aligned = true;
  }
  // The logarithm rounded once, as the host's is in all but rare cases.
  if (row.min_p > 0) {
    scaled.longest = distance_bits(static_cast<float>(log(static_cast<double>(row.min_p))));
  }
  return scaled;
}

// A probability relative to the largest as an integer, so that sums do not depend on their order.
__device__ inline Word mass_of(const Arguments& a, float scaled) {
  if (scaled < -60.0f) return 0;
  return static_cast<Word>(exp(static_cast<double>(scaled)) * a.mass_scale);
}

// The mass that reaches top_p of the total.
__device__ inline Word mass_needed(float top_p, Word total) {
  const double needed = ceil(static_cast<double>(top_p) * static_cast<double>(total));
  return max(Word{1}, min(total, static_cast<Word>(needed)));
}

}  // namespace stagegate::cuda::sampling

#pragma once

#include <cstdint>

#include "ops/argmax/best.cuh"

// Selection of the first elements of an order without sorting: by the sums of buckets of it.
namespace stagegate::cuda {

// Distances from the largest logit fall into buckets by their float bits, 128 to each power of two
// from 2^-6 to 2^10; beyond these are the first and the last bucket.
constexpr int kBuckets = 2048;

__device__ inline int bucket_of(std::uint32_t distance_bits) {
  constexpr int kFirst = (127 - 6) << 7;
  return min(max(static_cast<int>(distance_bits >> 16) - kFirst, 0), kBuckets - 1);
}

// One element of a list to select from: the smaller key comes first.
struct Candidate {
  Word key;
  float scaled;  // its logit relative to the largest, divided by the temperature
};

// The smallest key for which the elements up to it weigh at least `need`, which is at least 1 and
// at most the weight of all. Keys are below 2^63 and differ; integer weights make the result
// independent of the order of the list. To be called by the whole block.
//   candidate  index -> Candidate
//   weight     Candidate -> Word
template <typename CandidateOf, typename WeightOf>
__device__ Word cut_at(std::uint32_t count, Word need, CandidateOf candidate, WeightOf weight) {
  constexpr int kDigitBits = 8;
  constexpr int kPerLane = (1 << kDigitBits) / kWarp;
  __shared__ Word sums[1 << kDigitBits];
  __shared__ int digit;
  __shared__ Word before;
  __shared__ Word within;

  const Word first = candidate(0).key;
  Word differing = 0;
  for (std::uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    differing |= candidate(i).key ^ first;
  }
  differing = block_reduce<BitOr>(differing);
  int unresolved = 64 - __clzll(static_cast<long long>(differing));
  Word cut = first >> unresolved << unresolved;
  while (unresolved > 0) {
    const int width = min(kDigitBits, unresolved);
    const int shift = unresolved - width;
    for (int i = threadIdx.x; i < 1 << kDigitBits; i += blockDim.x) sums[i] = 0;
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
      const Candidate c = candidate(i);
      if (c.key >> unresolved != cut >> unresolved) continue;
      const Word weighs = weight(c);
      if (weighs != 0) atomicAdd(&sums[c.key >> shift & ((1 << width) - 1)], weighs);
    }
    __syncthreads();
    if (threadIdx.x < kWarp) {
      const int lane = threadIdx.x;
      Word own = 0;
      for (int i = 0; i < kPerLane; ++i) own += sums[lane * kPerLane + i];
      Word upto = own;
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const Word below = __shfl_up_sync(0xffffffffu, upto, offset);
        if (lane >= offset) upto += below;
      }
      Word reached = upto - own;
      if (reached < need && need <= upto) {
        for (int i = 0; i < kPerLane; ++i) {
          const Word weighs = sums[lane * kPerLane + i];
          if (need <= reached + weighs) {
            digit = lane * kPerLane + i;
            before = reached;
            within = weighs;
            break;
          }
          reached += weighs;
        }
      }
    }
    __syncthreads();
    cut |= static_cast<Word>(digit) << shift;
    need -= before;
    unresolved = shift;
    const bool whole = need == within;  // nothing of this bucket is left out
    __syncthreads();
    if (whole) return cut | ((Word{1} << shift) - 1);
  }
  return cut;
}

}  // namespace stagegate::cuda

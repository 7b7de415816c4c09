#pragma once

#include "ops/sampling/sampling_arguments.cuh"

// The second kernel: in which buckets of the order of likelihood the cuts lie.
namespace stagegate::cuda::sampling {

struct Histogram {
  std::uint32_t counts[kBuckets];
  // A sum of masses in two halves: atomics on 32 bits are native in shared memory.
  std::uint32_t low[kBuckets];
  std::uint32_t high[kBuckets];

  __device__ void clear() {
    for (int i = threadIdx.x; i < kBuckets; i += kThreads) counts[i] = low[i] = high[i] = 0;
  }
  __device__ void add(int bucket, Word mass) {
    atomicAdd(&counts[bucket], 1u);
    if (mass == 0) return;
    const auto low_half = static_cast<std::uint32_t>(mass);
    const std::uint32_t old = atomicAdd(&low[bucket], low_half);
    const auto carry = static_cast<std::uint32_t>(old + low_half < old);
    const std::uint32_t high_half = static_cast<std::uint32_t>(mass >> 32) + carry;
    if (high_half != 0) atomicAdd(&high[bucket], high_half);
  }
};

// Sums of the buckets before each thread's own, which are neighbours.
struct Prefix {
  static constexpr int kOwn = kBuckets / kThreads;
  Word own[kOwn];
  Word before;
  Word total;

  // By the whole block, when `own` is filled.
  __device__ void scan() {
    __shared__ Word warps[kThreads / kWarp];
    Word sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) sum += own[i];
    Word upto = sum;
    const int lane = threadIdx.x % kWarp;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const Word below = __shfl_up_sync(0xffffffffu, upto, offset);
      if (lane >= offset) upto += below;
    }
    if (lane == kWarp - 1) warps[threadIdx.x / kWarp] = upto;
    __syncthreads();
    before = upto - sum;
    total = 0;
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
      if (warp < static_cast<int>(threadIdx.x) / kWarp) before += warps[warp];
      total += warps[warp];
    }
    __syncthreads();
  }

  // The bucket in which the sum reaches `need`, from 1 to the total. By the whole block.
  __device__ int bucket_reaching(Word need) const {
    __shared__ int found;
    Word reached = before;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (reached < need && need <= reached + own[i]) found = threadIdx.x * kOwn + i;
      reached += own[i];
    }
    __syncthreads();
    const int bucket = found;
    __syncthreads();
    return bucket;
  }

  // The sum of the buckets before one. By the whole block.
  __device__ Word sum_before(int bucket) const {
    __shared__ Word sum;
    Word reached = before;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (bucket == static_cast<int>(threadIdx.x) * kOwn + i) sum = reached;
      reached += own[i];
    }
    __syncthreads();
    const Word result = sum;
    __syncthreads();
    return result;
  }
};

// From the histogram of a row: the buckets in which its cuts lie.
__device__ inline void plan_cuts(const Arguments& a, unsigned selection, const SamplingRow& row,
                                 const std::uint32_t* counts, const Word* masses, RowState* state) {
  Prefix count;
  Prefix mass;
#pragma unroll
  for (int i = 0; i < Prefix::kOwn; ++i) {
    const int bucket = threadIdx.x * Prefix::kOwn + i;
    count.own[i] = __ldcg(counts + bucket);
    mass.own[i] = selection == kDraw ? __ldcg(masses + bucket) : 0;
  }
  count.scan();
  mass.scan();
  if (selection == kTop) {
    const int last = count.bucket_reaching(a.num_top);
    if (threadIdx.x == 0) state->last_bucket = last;
    return;
  }
  const auto top_k = static_cast<Word>(row.top_k);
  const bool cut_count = top_k > 0 && top_k < count.total;
  int first = kBuckets;  // nothing is cut off
  int last = -1;
  if (cut_count) {
    first = last = count.bucket_reaching(top_k);
    // What top-k leaves has at least the mass before the bucket it ends in.
    const Word sure = mass.sum_before(last);
    if (row.top_p < 1 && sure > 0) first = mass.bucket_reaching(mass_needed(row.top_p, sure));
  } else if (row.top_p < 1) {
    first = last = mass.bucket_reaching(mass_needed(row.top_p, mass.total));
  }
  Word count_before = 0;
  Word mass_before = 0;
  if (first < kBuckets) {
    count_before = count.sum_before(first);
    mass_before = mass.sum_before(first);
  }
  if (threadIdx.x != 0) return;
  state->first_bucket = first;
  state->last_bucket = last;
  state->cut_count = cut_count;
  state->count_before = count_before;
  state->mass_before = mass_before;
  state->mass = mass.total;
}

static __global__ void __launch_bounds__(kThreads) find_buckets(const Arguments a) {
  __shared__ Histogram histogram;
  __shared__ bool last_block;
  const unsigned selection = blockIdx.z;
  const BlockRow at = block_row(a, blockIdx.y);
  const SamplingRow& row = shared_row(a, at.index);
  if (row.padded() || (selection == kDraw && !row.filtered())) return;

  const std::int64_t slot = selection * static_cast<std::int64_t>(gridDim.y) + at.local;
  histogram.clear();
  __syncthreads();
  const std::uint32_t step = gridDim.x * kThreads * kQuad;
  const std::uint32_t begin = (blockIdx.x * kThreads + threadIdx.x) * kQuad;
  float values[kQuad];
  if (selection == kDraw) {
    const float highest = packed_value(best_of_row(a, at.local));
    if (!isfinite(highest)) return;
    const Scaled scaled = scaled_logits(a, at, row, highest);
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(scaled.logits, id, a.vocab, scaled.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const float value = scaled(values[i]);
        const std::uint32_t distance = distance_bits(value);
        if (distance > scaled.longest) continue;  // also -inf past the end
        histogram.add(bucket_of(distance), row.top_p < 1 ? mass_of(a, value) : 0);
      }
    }
  } else {
    const float highest = highest_given(a, at.local);
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(at.given, id, a.vocab, a.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (id + i < a.vocab) histogram.add(bucket_of(distance_bits(values[i] - highest)), 0);
      }
    }
  }
  __syncthreads();

  std::uint32_t* counts = a.counts + slot * kBuckets;
  Word* masses = a.masses + at.local * static_cast<std::int64_t>(kBuckets);
  for (int i = threadIdx.x; i < kBuckets; i += kThreads) {
    if (histogram.counts[i] != 0) atomicAdd(counts + i, histogram.counts[i]);
    const Word mass = Word{histogram.high[i]} << 32 | histogram.low[i];
    if (selection == kDraw && mass != 0) atomicAdd(masses + i, mass);
  }
  // The block that is last to add finds what it added up to.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last_block = atomicAdd(&a.states[slot].blocks_done, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last_block) plan_cuts(a, selection, row, counts, masses, a.states + slot);
}

}  // namespace stagegate::cuda::sampling

#pragma once

#include "ops/sampling/sampling_arguments.cuh"

// The third kernel: the draw among the tokens that are in for sure, and a list of the others.
namespace stagegate::cuda::sampling {

// Gumbel-max in its exponential form: the first of clocks with rates p, whose times are
// -log(u) / p. Times are compared as the CPU computes them.
struct Race {
  Winner winner{kLongestRace, kNobody};

  __device__ void enter(double u, float scaled, std::uint32_t id) {
    // -log(u) >= 1 - u; the slack is for the rounding of the fast exponential.
    if (1.0 - u > winner.time * static_cast<double>(__expf(scaled)) * 1.001) return;
    const auto p = static_cast<float>(exp(static_cast<double>(scaled)));
    if (!(p > 0)) return;
    const double time = -log(u) / static_cast<double>(p);
    if (time < winner.time || (time == winner.time && id < winner.id)) winner = {time, id};
  }

  __device__ void merge(const Winner& other) {
    if (other.time < winner.time || (other.time == winner.time && other.id < winner.id)) {
      winner = other;
    }
  }

  // By the whole block.
  __device__ Winner of_block() const {
    const double time = block_reduce<Minimum>(winner.time);
    return {time, block_reduce<Minimum>(winner.time == time ? winner.id : kNobody)};
  }
};

// The threads of a warp that come here together take neighbouring places.
__device__ inline void append(std::uint32_t* list, std::uint32_t* length, std::uint32_t id) {
  const unsigned active = __activemask();
  const int leader = __ffs(static_cast<int>(active)) - 1;
  const int lane = threadIdx.x % kWarp;
  std::uint32_t base = 0;
  if (lane == leader) base = atomicAdd(length, static_cast<std::uint32_t>(__popc(active)));
  base = __shfl_sync(active, base, leader);
  list[base + __popc(active & ((1u << lane) - 1))] = id;
}

static __global__ void __launch_bounds__(kThreads) run_race(const Arguments a) {
  const unsigned selection = blockIdx.z;
  const BlockRow at = block_row(a, blockIdx.y);
  const SamplingRow& row = shared_row(a, at.index);
  if (row.padded() || (selection == kDraw && !row.sampled())) return;

  const std::int64_t slot = selection * static_cast<std::int64_t>(gridDim.y) + at.local;
  RowState& state = a.states[slot];
  std::uint32_t* listed = a.listed + slot * a.vocab;
  const std::uint32_t step = gridDim.x * kThreads * kQuad;
  const std::uint32_t begin = (blockIdx.x * kThreads + threadIdx.x) * kQuad;
  float values[kQuad];
  if (selection == kTop) {
    const float highest = highest_given(a, at.local);
    const int last = state.last_bucket;
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(at.given, id, a.vocab, a.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (id + i >= a.vocab || bucket_of(distance_bits(values[i] - highest)) > last) continue;
        append(listed, &state.listed, id + i);
      }
    }
    return;
  }

  const float highest = packed_value(best_of_row(a, at.local));
  if (!isfinite(highest)) return;
  const Scaled scaled = scaled_logits(a, at, row, highest);
  const int first_bucket = row.filtered() ? state.first_bucket : kBuckets;
  const int last_bucket = row.filtered() ? state.last_bucket : -1;
  Race race;
  for (std::uint32_t id = begin; id < a.vocab; id += step) {
    load_quad(scaled.logits, id, a.vocab, scaled.aligned, values);
    bool enters[kQuad];
    bool any = false;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      values[i] = scaled(values[i]);
      const std::uint32_t distance = distance_bits(values[i]);
      const int bucket = bucket_of(distance);
      const bool candidate = distance <= scaled.longest;
      enters[i] = candidate && bucket < first_bucket && values[i] > kHopeless;
      any = any || enters[i];
      if (candidate && bucket >= first_bucket && bucket <= last_bucket) {
        append(listed, &state.listed, id + i);
      }
    }
    if (!any) continue;
    const PhiloxBlock noise = token_noise(row.seed, row.draw_index, id / kQuad);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (enters[i]) race.enter(uniform(noise.words[i]), values[i], id + i);
    }
  }
  const Winner winner = race.of_block();
  if (threadIdx.x == 0) {
    a.winners[at.local * static_cast<std::int64_t>(a.race_blocks) + blockIdx.x] = winner;
  }
}

}  // namespace stagegate::cuda::sampling

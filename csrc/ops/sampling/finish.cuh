#pragma once

#include "ops/sampling/run_race.cuh"

// The last kernel: the exact cuts, the end of the draw, and the log-probabilities.
namespace stagegate::cuda::sampling {

// The logarithm of the sum of the exponentials of the given logits.
__device__ inline double log_total(const Arguments& a, int local) {
  const float highest = highest_given(a, local);
  double total = 0.0;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += kFinishThreads) {
    const std::int64_t part = local * static_cast<std::int64_t>(a.parts) + i;
    const float part_highest = a.part_highest[part];
    // A part without a number above -inf adds nothing, or NaN.
    const double scale =
        part_highest == -INFINITY
            ? 1.0
            : exp(static_cast<double>(part_highest) - static_cast<double>(highest));
    total += a.part_sum[part] * scale;
  }
  total = block_reduce<Sum>(total);
  return static_cast<double>(highest) + log(total);
}

__device__ inline std::uint32_t draw(const Arguments& a, const BlockRow& at, const SamplingRow& row,
                                     float highest) {
  const RowState& state = a.states[at.local];
  Race race;
  for (std::uint32_t i = threadIdx.x; i < a.race_blocks; i += kFinishThreads) {
    race.merge(a.winners[at.local * static_cast<std::int64_t>(a.race_blocks) + i]);
  }
  const std::uint32_t count = row.filtered() ? state.listed : 0;
  if (count == 0) return race.of_block().id;

  const Scaled scaled = scaled_logits(a, at, row, highest);
  const std::uint32_t* listed = a.listed + static_cast<std::int64_t>(at.local) * a.vocab;
  const auto candidate = [&](std::uint32_t i) {
    const std::uint32_t id = listed[i];
    const float value = scaled(scaled.logits[id]);
    return Candidate{Word{distance_bits(value)} << a.id_bits | id, value};
  };
  Word cut = ~Word{0};
  if (state.cut_count) {
    cut = cut_at(count, static_cast<Word>(row.top_k) - state.count_before, candidate,
                 [](const Candidate&) { return Word{1}; });
  }
  if (row.top_p < 1) {
    const auto mass = [&](const Candidate& c) { return c.key <= cut ? mass_of(a, c.scaled) : 0; };
    Word total = state.mass;
    if (state.cut_count) {
      Word kept = 0;
      for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads)
        kept += mass(candidate(i));
      total = state.mass_before + block_reduce<Sum>(kept);
    }
    cut =
        min(cut, cut_at(count, mass_needed(row.top_p, total) - state.mass_before, candidate, mass));
  }
  for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads) {
    const Candidate c = candidate(i);
    if (c.key > cut || c.scaled < kHopeless) continue;
    const std::uint32_t id = listed[i];
    const PhiloxBlock noise = token_noise(row.seed, row.draw_index, id / kQuad);
    std::uint32_t word = noise.words[0];
#pragma unroll
    for (std::uint32_t j = 1; j < kQuad; ++j) word = id % kQuad == j ? noise.words[j] : word;
    race.enter(uniform(word), c.scaled, id);
  }
  return race.of_block().id;
}

// The num_top most likely of the listed tokens, in order.
__device__ inline void write_top(const Arguments& a, const BlockRow& at, std::int64_t slot) {
  __shared__ std::uint32_t filled;
  const std::uint32_t count = a.states[slot].listed;
  const std::uint32_t* listed = a.listed + slot * a.vocab;
  const auto candidate = [&](std::uint32_t i) {
    const std::uint32_t id = listed[i];
    return Candidate{Word{~ordered_bits(at.given[id])} << a.id_bits | id, 0.0f};
  };
  const Word cut = cut_at(count, a.num_top, candidate, [](const Candidate&) { return Word{1}; });
  Word* chosen = a.chosen + static_cast<std::int64_t>(at.local) * a.num_top;
  if (threadIdx.x == 0) filled = 0;
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads) {
    const Word key = candidate(i).key;
    if (key <= cut) chosen[atomicAdd(&filled, 1u)] = key;
  }
  const double total = log_total(a, at.local);  // its barriers also end the filling
  const Word id_mask = (Word{1} << a.id_bits) - 1;
  for (std::uint32_t i = threadIdx.x; i < a.num_top; i += kFinishThreads) {
    const Word key = chosen[i];
    std::int64_t place = at.index * a.num_top;
    for (std::uint32_t j = 0; j < a.num_top; ++j) place += chosen[j] < key ? 1 : 0;
    const auto id = static_cast<std::uint32_t>(key & id_mask);
    a.top_ids[place] = static_cast<std::int32_t>(id);
    a.top_logprobs[place] = static_cast<float>(static_cast<double>(at.given[id]) - total);
  }
}

// What a row without a sequence gets.
__device__ inline void clear_row(const Arguments& a, std::int64_t row) {
  for (std::uint32_t i = threadIdx.x; i < a.num_top; i += kFinishThreads) {
    a.top_ids[row * a.num_top + i] = 0;
    a.top_logprobs[row * a.num_top + i] = 0.0f;
  }
  if (threadIdx.x != 0) return;
  a.token_ids[row] = 0;
  if (a.logprobs) a.token_logprobs[row] = 0.0f;
}

static __global__ void __launch_bounds__(kFinishThreads) finish(const Arguments a) {
  const BlockRow at = block_row(a, blockIdx.y);
  const SamplingRow& row = shared_row(a, at.index);
  if (row.padded()) {
    if (blockIdx.z == kDraw) clear_row(a, at.index);
    return;
  }
  if (blockIdx.z == kTop) {
    write_top(a, at, static_cast<std::int64_t>(gridDim.y) + at.local);
    return;
  }
  const Word best = best_of_row(a, at.local);
  const float highest = packed_value(best);
  std::uint32_t token = 0;
  if (isfinite(highest)) {
    token = row.sampled() ? draw(a, at, row, highest) : row.valid ? packed_index(best) : 0;
  } else if (row.valid && threadIdx.x == 0) {
    if (isnan(highest)) {
      report(a.fault, SamplingFault::kNanLogit, at.index, packed_index(best));
    } else if (highest == INFINITY) {
      report(a.fault, SamplingFault::kInfiniteLogit, at.index, packed_index(best));
    } else {
      report(a.fault, SamplingFault::kNoFiniteLogit, at.index);
    }
  }
  if (threadIdx.x == 0) a.token_ids[at.index] = static_cast<std::int32_t>(token);
  if (!a.logprobs) return;
  const double total = log_total(a, at.local);
  if (threadIdx.x == 0) {
    a.token_logprobs[at.index] = static_cast<float>(static_cast<double>(at.given[token]) - total);
  }
}

}  // namespace stagegate::cuda::sampling

#pragma once

#include "ops/sampling/sampling_arguments.cuh"

// The first kernel: mask, bias and penalties, and what a pass over the logits can find.
namespace stagegate::cuda::sampling {

__device__ inline bool allowed(const Arguments& a, const SamplingRow& row, std::uint32_t id) {
  const std::int64_t words = (a.vocab + 31) / 32;
  const auto word = static_cast<std::uint32_t>(a.in.mask_bits[row.mask * words + id / 32]);
  return (word >> id % 32 & 1) != 0;
}

// Adds the bias to the part that begins at `begin`, by one warp. A token named twice gets both
// values in the order of the list.
__device__ inline void add_bias(const Arguments& a, const SamplingRow& row, std::int64_t r,
                                std::uint32_t begin, float* part) {
  const unsigned lane = threadIdx.x;
  for (int base = row.bias_begin; base < row.bias_end; base += kWarp) {
    const int i = base + static_cast<int>(lane);
    bool mine = i < row.bias_end;
    const std::int32_t id = mine ? a.in.bias_ids[i] : -1;
    const float value = mine ? a.in.bias_values[i] : 0.0f;
    if (mine && !(isfinite(value) || value == -INFINITY)) {
      if (begin == 0) report(a.fault, SamplingFault::kBiasValue, r, 0, 0, value);
      mine = false;
    } else if (mine && (id < 0 || static_cast<std::uint32_t>(id) >= a.vocab)) {
      if (begin == 0) report(a.fault, SamplingFault::kBiasId, id, r, a.vocab);
      mine = false;
    }
    const std::uint32_t at = static_cast<std::uint32_t>(id) - begin;
    mine = mine && static_cast<std::uint32_t>(id) >= begin && at < kPart;
    const unsigned equals = __match_any_sync(0xffffffffu, mine ? id : -1);
    const unsigned turn = mine ? __popc(equals & ((1u << lane) - 1)) : 0;
    const unsigned turns = __reduce_max_sync(0xffffffffu, turn);
    for (unsigned t = 0; t <= turns; ++t) {
      if (mine && turn == t) part[at] = __fadd_rn(part[at], value);
      __syncwarp();
    }
  }
}

// The bit of a count that says that the token is in the prompt; the others say how often it was
// generated.
constexpr std::uint32_t kInPrompt = std::uint32_t{1} << 31;

// Counts the history of a row in the part that begins at `begin`. counts: zeros.
__device__ inline void count_history(const Arguments& a, const SamplingRow& row, std::int64_t r,
                                     std::uint32_t begin, std::uint32_t* counts) {
  constexpr int kLoads = 4;  // of a thread at the same time
  const std::int32_t* tokens = a.in.history_tokens + row.history * a.in.history_pitch;
  const int of_prompt = a.in.history_prompts[row.history];
  for (int base = static_cast<int>(threadIdx.x); base < row.history_len;
       base += kLoads * kThreads) {
    std::int32_t ids[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int i = base + k * kThreads;
      ids[k] = i < row.history_len ? tokens[i] : 0;
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int i = base + k * kThreads;
      const auto id = static_cast<std::uint32_t>(ids[k]);
      if (i >= row.history_len) break;
      if (id >= a.vocab) {
        if (begin == 0) report(a.fault, SamplingFault::kHistoryToken, ids[k], r, a.vocab);
      } else if (id >= begin && id - begin < kPart) {
        std::uint32_t& count = counts[id - begin];
        i < of_prompt ? atomicOr(&count, kInPrompt) : atomicAdd(&count, 1u);
      }
    }
  }
}

// No multiplication is fused with an addition, as on the CPU.
__device__ inline float penalized(const SamplingRow& row, float logit, std::uint32_t counted) {
  if (counted == 0) return logit;
  logit = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty)
                    : __fmul_rn(logit, row.repetition_penalty);
  const auto count = static_cast<float>(counted & ~kInPrompt);
  if (count == 0) return logit;
  return __fsub_rn(logit, __fadd_rn(row.presence_penalty, __fmul_rn(count, row.frequency_penalty)));
}

// As packed(), but NaN is above everything: a row that has one names it.
__device__ inline Word packed_fault(float value, std::uint32_t index) {
  return isnan(value) ? Word{0xffffffff} << 32 | (0xffffffffu - index) : packed(value, index);
}

// Notes the fault of the lowest row of the turn that has one.
__device__ inline void report_parameters(const Arguments& a, int rows) {
  int lowest = rows;
  for (int r = threadIdx.x; r < rows; r += kThreads) {
    const SamplingRow row = row_of(a.in, a.first_row + r);
    if (!row.valid && !row.padded()) {
      lowest = r;
      break;
    }
  }
  lowest = block_reduce<Minimum>(lowest);
  if (lowest == rows || threadIdx.x != 0) return;
  const std::int64_t r = a.first_row + lowest;
  const Fault fault = fault_of(a.in, load_row(a.in, r), r);
  report(a.fault, fault.code, fault.a, fault.b, fault.c, fault.value);
}

// Clears what the kernels behind this one count in.
__device__ __forceinline__ void clear_counts(const Arguments& a, const SamplingRow& row,
                                             std::int64_t local) {
  const unsigned problems = a.num_top > 0 ? 2 : 1;
  for (unsigned z = 0; z < problems; ++z) {
    const std::int64_t slot = z * static_cast<std::int64_t>(gridDim.y) + local;
    if (blockIdx.x == 0 && threadIdx.x == 0) a.states[slot] = RowState{};
    if (z == kDraw && !row.filtered()) continue;
    for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < kBuckets;
         i += gridDim.x * kThreads) {
      a.counts[slot * kBuckets + i] = 0;
      if (z == kDraw) a.masses[slot * kBuckets + i] = 0;
    }
  }
}

// The highest logit of the part and the sum of exponentials relative to it, as the model gave them.
__device__ __forceinline__ void reduce_logprobs(const Arguments& a, std::int64_t local,
                                                const float (&values)[2][kQuad]) {
  float highest = -INFINITY;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) highest = fmaxf(highest, values[q][i]);
  }
  highest = block_reduce<Maximum>(highest);
  double sum = 0.0;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (values[q][i] != -INFINITY) sum += exp(static_cast<double>(values[q][i] - highest));
    }
  }
  sum = block_reduce<Sum>(sum);
  if (threadIdx.x == 0) {
    a.part_highest[local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = highest;
    a.part_sum[local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = sum;
  }
}

// Applies mask, bias and penalties to the values of the part, in that order, and stores them for
// the kernels behind this one. part, counts: shared memory, [kPart] both.
__device__ __forceinline__ void adjust(const Arguments& a, const SamplingRow& row,
                                       const BlockRow& at, std::uint32_t begin,
                                       const std::uint32_t (&first)[2], float (&values)[2][kQuad],
                                       float* part, std::uint32_t* counts) {
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      const std::uint32_t id = first[q] + i;
      counts[id - begin] = 0;
      const bool out = row.mask >= 0 && id < a.vocab && !allowed(a, row, id);
      // A fault of the model is not hidden.
      part[id - begin] = out && values[q][i] < INFINITY ? -INFINITY : values[q][i];
    }
  }
  __syncthreads();
  if (threadIdx.x < kWarp) add_bias(a, row, at.index, begin, part);
  if (row.penalized()) count_history(a, row, at.index, begin, counts);
  __syncthreads();
  float* adjusted = a.adjusted + at.local * a.pitch;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      const std::uint32_t place = first[q] + i - begin;
      values[q][i] = penalized(row, part[place], counts[place]);
      if (first[q] + i < a.vocab) adjusted[first[q] + i] = values[q][i];
    }
  }
}

// The best token of the part; a NaN is above all.
__device__ __forceinline__ void reduce_best(const Arguments& a, std::int64_t local,
                                            const std::uint32_t (&first)[2],
                                            const float (&values)[2][kQuad]) {
  Word best = 0;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (first[q] + i < a.vocab) best = max(best, packed_fault(values[q][i], first[q] + i));
    }
  }
  best = block_reduce<Maximum>(best);
  if (threadIdx.x == 0) {
    a.best[local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = best;
  }
}

static __global__ void __launch_bounds__(kThreads) reduce_parts(const Arguments a) {
  __shared__ float part[kPart];
  __shared__ std::uint32_t counts[kPart];
  const BlockRow at = block_row(a, blockIdx.y);
  const std::uint32_t begin = blockIdx.x * kPart;
  // The logits come while the row is read.
  float values[2][kQuad];
  std::uint32_t first[2];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    first[q] = begin + (q * kThreads + threadIdx.x) * kQuad;
    load_quad(at.given, first[q], a.vocab, a.aligned, values[q]);
  }
  const SamplingRow& row = shared_row(a, at.index);
  if (blockIdx.x == 0 && blockIdx.y == 0) report_parameters(a, static_cast<int>(gridDim.y));
  if (row.padded()) return;
  clear_counts(a, row, at.local);
  if (a.logprobs) reduce_logprobs(a, at.local, values);
  if (row.adjusted()) adjust(a, row, at, begin, first, values, part, counts);
  reduce_best(a, at.local, first, values);
}

}  // namespace stagegate::cuda::sampling

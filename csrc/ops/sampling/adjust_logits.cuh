#pragma once

#include "ops/sampling/sampling_arguments.cuh"

// What the first kernel does to the logits of a row before it is sampled: mask, bias, penalties.
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

// Each of these applies to the values of a thread, two quads. In shared memory the first quads of
// all threads come before the second ones.
__device__ __forceinline__ void mask_values(const Arguments& a, const SamplingRow& row,
                                            const std::uint32_t (&first)[2],
                                            float (&values)[2][kQuad]) {
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      const std::uint32_t id = first[q] + i;
      const bool out = id < a.vocab && !allowed(a, row, id);
      // A fault of the model is not hidden.
      if (out && values[q][i] < INFINITY) values[q][i] = -INFINITY;
    }
  }
}

__device__ __forceinline__ void bias_values(const Arguments& a, const SamplingRow& row,
                                            std::int64_t r, std::uint32_t begin,
                                            float (&values)[2][kQuad]) {
  __shared__ float4 part[kPart / kQuad];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    part[q * kThreads + threadIdx.x] =
        make_float4(values[q][0], values[q][1], values[q][2], values[q][3]);
  }
  __syncthreads();
  if (threadIdx.x < kWarp) add_bias(a, row, r, begin, reinterpret_cast<float*>(part));
  __syncthreads();
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const float4 quad = part[q * kThreads + threadIdx.x];
    values[q][0] = quad.x;
    values[q][1] = quad.y;
    values[q][2] = quad.z;
    values[q][3] = quad.w;
  }
}

__device__ __forceinline__ void penalize_values(const Arguments& a, const SamplingRow& row,
                                                std::int64_t r, std::uint32_t begin,
                                                float (&values)[2][kQuad]) {
  __shared__ uint4 counts[kPart / kQuad];
#pragma unroll
  for (int q = 0; q < 2; ++q) counts[q * kThreads + threadIdx.x] = uint4{};
  __syncthreads();
  count_history(a, row, r, begin, reinterpret_cast<std::uint32_t*>(counts));
  __syncthreads();
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const uint4 counted = counts[q * kThreads + threadIdx.x];
    if ((counted.x | counted.y | counted.z | counted.w) == 0) continue;  // as most are
    values[q][0] = penalized(row, values[q][0], counted.x);
    values[q][1] = penalized(row, values[q][1], counted.y);
    values[q][2] = penalized(row, values[q][2], counted.z);
    values[q][3] = penalized(row, values[q][3], counted.w);
  }
}

// All of them in their order. Stores the values for the kernels behind this one.
__device__ __forceinline__ void adjust(const Arguments& a, const SamplingRow& row,
                                       const BlockRow& at, std::uint32_t begin,
                                       const std::uint32_t (&first)[2], float (&values)[2][kQuad]) {
  if (row.mask >= 0) mask_values(a, row, first, values);
  if (row.bias_begin < row.bias_end) bias_values(a, row, at.index, begin, values);
  if (row.penalized()) penalize_values(a, row, at.index, begin, values);
  // Rows are whole quads; what is behind the vocabulary is not read.
  float4* adjusted = reinterpret_cast<float4*>(a.adjusted + at.local * a.pitch);
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    if (first[q] >= a.vocab) continue;
    adjusted[first[q] / kQuad] =
        make_float4(values[q][0], values[q][1], values[q][2], values[q][3]);
  }
}

}  // namespace stagegate::cuda::sampling

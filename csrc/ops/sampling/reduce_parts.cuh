#pragma once

#include "ops/sampling/adjust_logits.cuh"
#include "ops/sampling/sampling_arguments.cuh"

// The first kernel: adjusts the logits, and what a pass over them can find.
namespace stagegate::cuda::sampling {

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
  if (row.adjusted()) adjust(a, row, at, begin, first, values);
  reduce_best(a, at.local, first, values);
}

}  // namespace stagegate::cuda::sampling

#pragma once

#include <cstdint>

#include "device/cuda/fault.h"
#include "ops/argmax/best.cuh"

// What one row of sample() asks for, as kernels read it.
namespace stagegate::cuda {

struct SamplingParameters {
  const float* temperature;
  const std::int32_t* top_k;
  const float* top_p;
  const float* min_p;
  const float* repetition_penalty;
  const float* presence_penalty;
  const float* frequency_penalty;
  const std::int64_t* seed;
  const std::int64_t* draw_index;
  const std::int32_t* history_ptr;
  const std::int32_t* history_ids;
  const std::int32_t* history_counts;
  std::int64_t history_size;
  const std::int32_t* bias_ptr;
  const std::int32_t* bias_ids;
  const float* bias_values;
  std::int64_t bias_size;
  const std::int32_t* mask_index;  // null: every token may be drawn
  const std::int32_t* mask_bits;
  std::int64_t mask_rows;
};

struct SamplingRow {
  bool valid;
  float temperature;
  std::int32_t top_k;
  float top_p;
  float min_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  std::uint64_t seed;
  std::uint64_t draw_index;
  std::int32_t history_begin;
  std::int32_t history_end;
  std::int32_t bias_begin;
  std::int32_t bias_end;
  std::int32_t mask;  // -1: none

  __device__ bool sampled() const { return valid && temperature > 0; }
  // A part of the order of likelihood is left out, which min-p alone does without that order.
  __device__ bool filtered() const { return sampled() && (top_k > 0 || top_p < 1); }
  __device__ bool penalized() const {
    return history_begin < history_end &&
           (repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0);
  }
  // The logits that are drawn from are not the given ones.
  __device__ bool adjusted() const { return mask >= 0 || bias_begin < bias_end || penalized(); }
};

// The first of a row's parameters that is outside its range, in the order of the CPU's checks.
__device__ inline Fault fault_of(const SamplingParameters& in, std::int64_t r) {
  const auto list = [r](FaultKind kind, const std::int32_t* ptr, std::int64_t size) {
    const std::int64_t first = ptr[r];
    const std::int64_t last = ptr[r + 1];
    const bool ok = 0 <= first && first <= last && last <= size;
    return Fault{ok ? FaultKind::kNone : kind, r, first, last, static_cast<double>(size)};
  };
  Fault fault = list(FaultKind::kHistoryPtr, in.history_ptr, in.history_size);
  if (fault.kind != FaultKind::kNone) return fault;
  fault = list(FaultKind::kBiasPtr, in.bias_ptr, in.bias_size);
  if (fault.kind != FaultKind::kNone) return fault;
  if (in.mask_index != nullptr) {
    const std::int64_t index = in.mask_index[r];
    if (index < -1 || index >= in.mask_rows) {
      return {FaultKind::kMaskIndex, index, r, in.mask_rows, 0.0};
    }
  }
  const auto value = [&fault, r](bool ok, FaultKind kind, double given) {
    if (!ok && fault.kind == FaultKind::kNone) fault = {kind, r, 0, 0, given};
  };
  const float temperature = in.temperature[r];
  value(temperature >= 0 && isfinite(temperature), FaultKind::kTemperature, temperature);
  value(in.top_k[r] >= 0, FaultKind::kTopK, in.top_k[r]);
  value(in.top_p[r] > 0 && in.top_p[r] <= 1, FaultKind::kTopP, in.top_p[r]);
  value(in.min_p[r] >= 0 && in.min_p[r] <= 1, FaultKind::kMinP, in.min_p[r]);
  const float repetition = in.repetition_penalty[r];
  value(repetition > 0 && isfinite(repetition), FaultKind::kRepetitionPenalty, repetition);
  value(isfinite(in.presence_penalty[r]), FaultKind::kPresencePenalty, in.presence_penalty[r]);
  value(isfinite(in.frequency_penalty[r]), FaultKind::kFrequencyPenalty, in.frequency_penalty[r]);
  return fault;
}

// A row with a fault has no lists and no mask, and draws nothing.
__device__ inline SamplingRow row_of(const SamplingParameters& in, std::int64_t r) {
  SamplingRow row{};
  row.mask = -1;
  row.valid = fault_of(in, r).kind == FaultKind::kNone;
  if (!row.valid) return row;
  row.temperature = in.temperature[r];
  row.top_k = in.top_k[r];
  row.top_p = in.top_p[r];
  row.min_p = in.min_p[r];
  row.repetition_penalty = in.repetition_penalty[r];
  row.presence_penalty = in.presence_penalty[r];
  row.frequency_penalty = in.frequency_penalty[r];
  row.seed = static_cast<std::uint64_t>(in.seed[r]);
  row.draw_index = static_cast<std::uint64_t>(in.draw_index[r]);
  row.history_begin = in.history_ptr[r];
  row.history_end = in.history_ptr[r + 1];
  row.bias_begin = in.bias_ptr[r];
  row.bias_end = in.bias_ptr[r + 1];
  if (in.mask_index != nullptr) row.mask = in.mask_index[r];
  return row;
}

}  // namespace stagegate::cuda

#pragma once

#include <cstdint>

#include "ops/argmax/best.cuh"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_faults.h"

// What one row of sample() asks for, as kernels read it.
namespace stagegate::cuda {

struct SamplingParameters {
#define STAGEGATE_POINTER(name, type, ...) const type* name;
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_POINTER)
#undef STAGEGATE_POINTER
  const std::int64_t* seed;
  const std::int64_t* draw_index;
  const std::int32_t* history_rows;  // null: no row has a history
  const std::int32_t* history_lens;
  const std::int32_t* history_prompts;
  const std::int32_t* history_tokens;
  std::int64_t history_lists;
  std::int64_t history_pitch;
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
#define STAGEGATE_FIELD(name, type, ...) type name;
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_FIELD)
#undef STAGEGATE_FIELD
  std::uint64_t seed;
  std::uint64_t draw_index;
  std::int32_t history;  // its list; -1: none
  std::int32_t history_len;
  std::int32_t bias_begin;
  std::int32_t bias_end;
  std::int32_t mask;  // -1: none

  __device__ bool padded() const { return draw_index == static_cast<std::uint64_t>(kPaddedRow); }
  __device__ bool sampled() const { return valid && temperature > 0; }
  // A part of the order of likelihood is left out, which min-p alone does without that order.
  __device__ bool filtered() const { return sampled() && (top_k > 0 || top_p < 1); }
  __device__ bool penalized() const {
    return history >= 0 && history_len > 0 &&
           (repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0);
  }
  // The logits that are drawn from are not the given ones.
  __device__ bool adjusted() const { return mask >= 0 || bias_begin < bias_end || penalized(); }
};

// As it stands in the tensors, not checked. No load waits for another one.
__device__ inline SamplingRow load_row(const SamplingParameters& in, std::int64_t r) {
  return {
      .valid = false,
#define STAGEGATE_LOAD(name, ...) .name = in.name[r],
      STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_LOAD)
#undef STAGEGATE_LOAD
          .seed = static_cast<std::uint64_t>(in.seed[r]),
      .draw_index = static_cast<std::uint64_t>(in.draw_index[r]),
      .history = in.history_rows == nullptr ? -1 : in.history_rows[r],
      .history_len = in.history_rows == nullptr ? 0 : in.history_lens[r],
      .bias_begin = in.bias_ptr[r],
      .bias_end = in.bias_ptr[r + 1],
      .mask = in.mask_index == nullptr ? -1 : in.mask_index[r],
  };
}

// The first parameter of a loaded row that is outside its range, in the order of the CPU's checks.
__device__ inline Fault fault_of(const SamplingParameters& in, const SamplingRow& row,
                                 std::int64_t r) {
  const auto inside = [](std::int64_t first, std::int64_t last, std::int64_t size) {
    return 0 <= first && first <= last && last <= size;
  };
  if (row.history < -1 || (row.history >= 0 && row.history >= in.history_lists)) {
    return {static_cast<FaultCode>(SamplingFault::kHistoryRow), row.history, r, in.history_lists,
            0.0};
  }
  if (row.history >= 0 && (row.history_len < 0 || row.history_len > in.history_pitch)) {
    return {static_cast<FaultCode>(SamplingFault::kHistoryLen), row.history_len, r,
            in.history_pitch, 0.0};
  }
  if (!inside(row.bias_begin, row.bias_end, in.bias_size)) {
    return {static_cast<FaultCode>(SamplingFault::kBiasPtr), r, row.bias_begin, row.bias_end,
            static_cast<double>(in.bias_size)};
  }
  if (row.mask < -1 || (row.mask >= 0 && row.mask >= in.mask_rows)) {
    return {static_cast<FaultCode>(SamplingFault::kMaskIndex), row.mask, r, in.mask_rows, 0.0};
  }
  Fault fault{};
  const auto require = [&fault, r](bool ok, SamplingParameterIndex index, double given) {
    if (ok || fault.code != 0) return;
    fault = {static_cast<FaultCode>(SamplingFault::kParameter), r, static_cast<std::int64_t>(index),
             0, given};
  };
#define STAGEGATE_REQUIRE(name, type, off, valid, range) \
  require([](type value) { return valid; }(row.name), SamplingParameterIndex::name, row.name);
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_REQUIRE)
#undef STAGEGATE_REQUIRE
  return fault;
}

// A row with a fault has no lists and no mask, and nothing is sampled for it; nor has a padded one,
// which is no fault.
__device__ inline SamplingRow row_of(const SamplingParameters& in, std::int64_t r) {
  SamplingRow row = load_row(in, r);
  row.valid = !row.padded() && fault_of(in, row, r).code == 0;
  if (!row.valid) {
    const std::uint64_t draw_index = row.padded() ? row.draw_index : 0;
    row = SamplingRow{};
    row.draw_index = draw_index;
    row.history = -1;
    row.mask = -1;
  }
  return row;
}

}  // namespace stagegate::cuda

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "device/context.h"
#include "ops/parallel.h"
#include "ops/sampling/philox.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_faults.h"

namespace stagegate::cpu {

namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr float kForbidden = -kInfinite;

// Most likely first; the lower id first among equals. No logit is NaN.
struct ByLogit {
  std::span<const float> logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  }
};

// One row's parameters.
struct Row {
  std::int64_t index;
#define STAGEGATE_FIELD(name, type, ...) type name;
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_FIELD)
#undef STAGEGATE_FIELD
  std::uint64_t seed;
  std::uint64_t draw_index;
  std::span<const std::int32_t> prompt;  // what penalties look at
  std::span<const std::int32_t> generated;
  std::span<const std::int32_t> bias_ids;
  std::span<const float> bias_values;
  std::span<const std::int32_t> mask;  // empty: every token may be drawn

  bool penalized() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

template <typename T>
std::span<const T> part_of(const Tensor& ptr, const Tensor& values, std::int64_t row,
                           SamplingFault fault) {
  const auto* offsets = ptr.data<std::int32_t>();
  const std::int64_t first = offsets[row];
  const std::int64_t last = offsets[row + 1];
  SG_CHECK(ArgumentError, 0 <= first && first <= last && last <= values.numel(),
           describe(make_fault(fault, row, first, last, static_cast<double>(values.numel()))));
  return {values.data<T>() + first, static_cast<std::size_t>(last - first)};
}

// The prompt and the generated tokens of the row's list.
std::pair<std::span<const std::int32_t>, std::span<const std::int32_t>> history_of(
    const SamplingInputs& in, std::int64_t row) {
  if (!in.history_tokens.defined()) return {};
  const std::int64_t lists = in.history_tokens.dim(0);
  const std::int64_t longest = in.history_tokens.dim(1);
  const std::int64_t list = in.history_rows.data<std::int32_t>()[row];
  SG_CHECK(ArgumentError, -1 <= list && list < lists,
           describe(make_fault(SamplingFault::kHistoryRow, list, row, lists)));
  if (list < 0) return {};
  const std::int64_t length = in.history_lens.data<std::int32_t>()[row];
  SG_CHECK(ArgumentError, 0 <= length && length <= longest,
           describe(make_fault(SamplingFault::kHistoryLen, length, row, longest)));
  const std::int64_t of_prompt = in.history_prompts.data<std::int32_t>()[list];
  const std::span<const std::int32_t> tokens(
      in.history_tokens.data<std::int32_t>() + list * longest, static_cast<std::size_t>(length));
  const auto border = static_cast<std::size_t>(std::clamp(of_prompt, std::int64_t{0}, length));
  return {tokens.first(border), tokens.subspan(border)};
}

std::span<const std::int32_t> mask_of(const SamplingInputs& in, std::int64_t row) {
  if (!in.mask_bits.defined()) return {};
  const std::int32_t index = in.mask_index.data<std::int32_t>()[row];
  SG_CHECK(ArgumentError, -1 <= index && index < in.mask_bits.dim(0),
           describe(make_fault(SamplingFault::kMaskIndex, index, row, in.mask_bits.dim(0))));
  if (index < 0) return {};
  const std::int64_t words = in.mask_bits.dim(1);
  return {in.mask_bits.data<std::int32_t>() + index * words, static_cast<std::size_t>(words)};
}

Row row_of(const SamplingInputs& in, std::int64_t r) {
  const auto [prompt, generated] = history_of(in, r);
  const Row row{
      .index = r,
#define STAGEGATE_LOAD(name, type, ...) .name = in.name.data<type>()[r],
      STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_LOAD)
#undef STAGEGATE_LOAD
          .seed = static_cast<std::uint64_t>(in.seed.data<std::int64_t>()[r]),
      .draw_index = static_cast<std::uint64_t>(in.draw_index.data<std::int64_t>()[r]),
      .prompt = prompt,
      .generated = generated,
      .bias_ids = part_of<std::int32_t>(in.bias_ptr, in.bias_ids, r, SamplingFault::kBiasPtr),
      .bias_values = part_of<float>(in.bias_ptr, in.bias_values, r, SamplingFault::kBiasPtr),
      .mask = mask_of(in, r),
  };
  const auto require = [r](bool ok, SamplingParameterIndex index, double value) {
    SG_CHECK(ArgumentError, ok,
             describe(make_fault(SamplingFault::kParameter, r, static_cast<std::int64_t>(index), 0,
                                 value)));
  };
#define STAGEGATE_REQUIRE(name, type, off, valid, range) \
  require([](type value) { return valid; }(row.name), SamplingParameterIndex::name, row.name);
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_REQUIRE)
#undef STAGEGATE_REQUIRE
  return row;
}

float& logit_at(const Row& row, std::span<float> logits, std::int32_t id, SamplingFault fault) {
  SG_CHECK(ArgumentError, id >= 0 && id < static_cast<std::int64_t>(logits.size()),
           describe(make_fault(fault, id, row.index, static_cast<std::int64_t>(logits.size()))));
  return logits[static_cast<std::size_t>(id)];
}

void apply_mask(const Row& row, std::span<float> logits) {
  for (std::size_t word = 0; word < row.mask.size(); ++word) {
    const auto allowed = static_cast<std::uint32_t>(row.mask[word]);
    if (allowed == ~std::uint32_t{0}) continue;
    const std::size_t end = std::min((word + 1) * 32, logits.size());
    for (std::size_t id = word * 32; id < end; ++id) {
      const bool out = (allowed >> (id % 32) & 1) == 0;
      // A fault of the model is not hidden.
      if (out && logits[id] < kInfinite) logits[id] = kForbidden;
    }
  }
}

void apply_bias(const Row& row, std::span<float> logits) {
  for (std::size_t i = 0; i < row.bias_ids.size(); ++i) {
    SG_CHECK(ArgumentError, std::isfinite(row.bias_values[i]) || row.bias_values[i] == kForbidden,
             describe(make_fault(SamplingFault::kBiasValue, row.index, 0, 0, row.bias_values[i])));
    logit_at(row, logits, row.bias_ids[i], SamplingFault::kBiasId) += row.bias_values[i];
  }
}

// A token is penalized once, however often it is in the list.
void apply_penalties(const Row& row, std::span<float> logits) {
  if (!row.penalized()) return;
  // By token: how often it was generated, and kDone once it is penalized.
  constexpr std::int32_t kDone = -1;
  thread_local std::vector<std::int32_t> counts;
  counts.assign(logits.size(), 0);
  for (const std::int32_t id : row.generated) {
    logit_at(row, logits, id, SamplingFault::kHistoryToken);
    ++counts[static_cast<std::size_t>(id)];
  }
  const auto penalize = [&](std::int32_t id) {
    float& logit = logit_at(row, logits, id, SamplingFault::kHistoryToken);
    std::int32_t& count = counts[static_cast<std::size_t>(id)];
    if (count == kDone) return;
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (count > 0) {
      logit -= row.presence_penalty + static_cast<float>(count) * row.frequency_penalty;
    }
    count = kDone;
  };
  std::ranges::for_each(row.prompt, penalize);
  std::ranges::for_each(row.generated, penalize);
}

std::int32_t most_likely(const Row& row, std::span<const float> logits) {
  std::size_t best = 0;
  float highest = kForbidden;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] <= highest) continue;
    SG_CHECK(
        ArgumentError, !std::isnan(logits[i]),
        describe(make_fault(SamplingFault::kNanLogit, row.index, static_cast<std::int64_t>(i))));
    best = i;
    highest = logits[i];
  }
  SG_CHECK(ArgumentError, highest != kForbidden,
           describe(make_fault(SamplingFault::kNoFiniteLogit, row.index)));
  SG_CHECK(ArgumentError, std::isfinite(highest),
           describe(make_fault(SamplingFault::kInfiniteLogit, row.index,
                               static_cast<std::int64_t>(best))));
  return static_cast<std::int32_t>(best);
}

// The `count` most likely of the candidates, in order, at their front.
void order_first(std::vector<std::int32_t>& candidates, std::size_t count, const ByLogit& order) {
  if (count < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count),
                     candidates.end(), order);
  }
  std::sort(candidates.begin(),
            candidates.begin() + static_cast<std::ptrdiff_t>(std::min(count, candidates.size())),
            order);
}

// Keeps the fewest most likely candidates whose probabilities reach top_p of their total.
void keep_top_p(std::vector<std::int32_t>& candidates, std::span<const float> logits, float highest,
                float top_p) {
  const auto weight = [&](std::int32_t id) {
    return std::exp(static_cast<double>(logits[static_cast<std::size_t>(id)] - highest));
  };
  double total = 0.0;
  for (const std::int32_t id : candidates) total += weight(id);
  // Few tokens usually hold the mass, so the order is found a prefix at a time.
  for (std::size_t sorted = 64;; sorted *= 8) {
    order_first(candidates, sorted, ByLogit{logits});
    double reached = 0.0;
    for (std::size_t i = 0; i < std::min(sorted, candidates.size()); ++i) {
      reached += weight(candidates[i]);
      if (reached >= static_cast<double>(top_p) * total) {
        candidates.resize(i + 1);
        return;
      }
    }
    if (sorted >= candidates.size()) return;
  }
}

// Gumbel-max: argmax of logit + Gumbel noise is a draw from the softmax. In its exponential form,
// argmin of E / p with E = -log(u), which needs one logarithm, and seldom that: E >= 1 - u bounds
// it.
class Race {
 public:
  explicit Race(const Row& row) : row_(row) {}

  void enter(std::int32_t id, double probability) {
    const std::uint32_t block = static_cast<std::uint32_t>(id) / kTokensPerBlock;
    if (block != block_ || !filled_) {
      noise_ = token_noise(row_.seed, row_.draw_index, block);
      block_ = block;
      filled_ = true;
    }
    const double u = uniform(noise_.words[static_cast<std::uint32_t>(id) % kTokensPerBlock]);
    if (1.0 - u > best_ * probability) return;
    const double key = -std::log(u) / probability;
    if (key < best_) {
      best_ = key;
      winner_ = id;
    }
  }

  std::int32_t winner() const { return winner_; }

 private:
  const Row& row_;
  PhiloxBlock noise_{};
  std::uint32_t block_ = 0;
  bool filled_ = false;
  double best_ = std::numeric_limits<double>::infinity();
  std::int32_t winner_ = 0;
};

std::int32_t draw(const Row& row, std::span<float> logits, std::vector<std::int32_t>& candidates) {
  const std::int32_t best = most_likely(row, logits);
  if (row.temperature == 0) return best;
  // A temperature near 0 would overflow the scaled logits; their differences from the best do not.
  const float highest = logits[static_cast<std::size_t>(best)];
  for (float& logit : logits) logit = (logit - highest) / row.temperature;

  const float lowest = row.min_p > 0 ? std::log(row.min_p) : kForbidden;
  candidates.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= lowest && logits[i] > kForbidden) {
      candidates.push_back(static_cast<std::int32_t>(i));
    }
  }
  if (row.top_k > 0 && static_cast<std::size_t>(row.top_k) < candidates.size()) {
    order_first(candidates, static_cast<std::size_t>(row.top_k), ByLogit{logits});
    candidates.resize(static_cast<std::size_t>(row.top_k));
  }
  if (row.top_p < 1) keep_top_p(candidates, logits, 0.0f, row.top_p);

  Race race(row);
  for (const std::int32_t id : candidates) {
    const float probability = std::exp(logits[static_cast<std::size_t>(id)]);
    if (probability > 0) race.enter(id, static_cast<double>(probability));
  }
  return race.winner();
}

void report_logprobs(std::int64_t row, std::span<const float> logits, const SamplingOutputs& out,
                     std::vector<std::int32_t>& candidates) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - highest));
  const double log_total = static_cast<double>(highest) + std::log(total);
  const auto logprob = [&](std::int32_t id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) -
                              log_total);
  };
  out.logprobs.data<float>()[row] = logprob(out.token_ids.data<std::int32_t>()[row]);
  const std::int64_t wanted = out.top_ids.dim(1);
  if (wanted == 0) return;
  candidates.resize(logits.size());
  std::iota(candidates.begin(), candidates.end(), 0);
  order_first(candidates, static_cast<std::size_t>(wanted), ByLogit{logits});
  for (std::int64_t i = 0; i < wanted; ++i) {
    const std::int32_t id = candidates[static_cast<std::size_t>(i)];
    out.top_ids.data<std::int32_t>()[row * wanted + i] = id;
    out.top_logprobs.data<float>()[row * wanted + i] = logprob(id);
  }
}

// What a row without a sequence gets.
void clear_row(std::int64_t row, const SamplingOutputs& out) {
  out.token_ids.data<std::int32_t>()[row] = 0;
  if (!out.logprobs.defined()) return;
  out.logprobs.data<float>()[row] = 0.0f;
  const std::int64_t wanted = out.top_ids.dim(1);
  std::fill_n(out.top_ids.data<std::int32_t>() + row * wanted, wanted, 0);
  std::fill_n(out.top_logprobs.data<float>() + row * wanted, wanted, 0.0f);
}

}  // namespace

void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs) {
  const auto vocab = static_cast<std::size_t>(logits.dim(1));
  parallel_for_uneven(logits.dim(0), context.num_threads, [&](std::int64_t r) {
    if (inputs.draw_index.data<std::int64_t>()[r] == kPaddedRow) return clear_row(r, outputs);
    thread_local std::vector<float> scratch;
    thread_local std::vector<std::int32_t> candidates;
    const Row row = row_of(inputs, r);
    const std::span<const float> given(logits.data<float>() + r * static_cast<std::int64_t>(vocab),
                                       vocab);
    scratch.assign(given.begin(), given.end());
    apply_mask(row, scratch);
    apply_bias(row, scratch);
    apply_penalties(row, scratch);
    outputs.token_ids.data<std::int32_t>()[r] = draw(row, scratch, candidates);
    if (outputs.logprobs.defined()) report_logprobs(r, given, outputs, candidates);
  });
}

}  // namespace stagegate::cpu

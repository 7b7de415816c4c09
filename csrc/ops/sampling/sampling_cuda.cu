#include <algorithm>
#include <bit>

#include "device/cuda/launch.h"
#include "ops/sampling/find_buckets.cuh"
#include "ops/sampling/finish.cuh"
#include "ops/sampling/reduce_parts.cuh"
#include "ops/sampling/run_race.cuh"
#include "ops/sampling/sampling.h"

// Four kernels for every batch, whatever its rows ask for; a row's blocks leave a kernel at once
// that it does not need.
//   reduce_parts  adjusts the logits, finds the largest of each part, sums the parts' exponentials
//   find_buckets  top-k, top-p, top-N: histograms the order of likelihood and finds the buckets in
//                 which the cuts lie
//   run_race      draws among the tokens before these buckets, lists the tokens in them
//   finish        finds the cuts among the listed tokens, ends the draw, writes the results
// Partial results are integers, extremes, or sums over parts of one size, so that neither the
// neighbours of a row, nor how many are taken at once, nor the order in which blocks run change any
// of its bits.
namespace stagegate::cuda {

namespace {
using namespace sampling;

// More rows are taken in turns, which bounds the scratch memory: these bytes for what is as long as
// the vocabulary, `adjusted` and `listed`, and so many rows for the rest. One row is always taken.
constexpr std::int64_t kTurnBytes = std::int64_t{64} << 20;
constexpr std::int64_t kRowsAtOnce = 128;
constexpr std::int64_t kBlocksPerMultiprocessor = 8;

SamplingParameters parameters_of(const SamplingInputs& in) {
  SamplingParameters p{
#define STAGEGATE_POINTER(name, type, ...) .name = input<type>(in.name),
      STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_POINTER)
#undef STAGEGATE_POINTER
          .seed = input<std::int64_t>(in.seed),
      .draw_index = input<std::int64_t>(in.draw_index),
      .history_rows = nullptr,
      .history_lens = nullptr,
      .history_prompts = nullptr,
      .history_tokens = nullptr,
      .history_lists = 0,
      .history_pitch = 0,
      .bias_ptr = input<std::int32_t>(in.bias_ptr),
      .bias_ids = input<std::int32_t>(in.bias_ids),
      .bias_values = input<float>(in.bias_values),
      .bias_size = in.bias_ids.numel(),
      .mask_index = nullptr,
      .mask_bits = nullptr,
      .mask_rows = 0,
  };
  if (in.history_tokens.defined()) {
    p.history_rows = input<std::int32_t>(in.history_rows);
    p.history_lens = input<std::int32_t>(in.history_lens);
    p.history_prompts = input<std::int32_t>(in.history_prompts);
    p.history_tokens = input<std::int32_t>(in.history_tokens);
    p.history_lists = in.history_tokens.dim(0);
    p.history_pitch = in.history_tokens.dim(1);
  }
  if (in.mask_bits.defined()) {
    p.mask_index = input<std::int32_t>(in.mask_index);
    p.mask_bits = input<std::int32_t>(in.mask_bits);
    p.mask_rows = in.mask_bits.dim(0);
  }
  return p;
}

// Hands out the scratch memory piece by piece; without memory it only counts.
class Layout {
 public:
  explicit Layout(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

  template <typename T>
  void place(T*& pointer, std::int64_t count) {
    pointer = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + size_);
    size_ += (static_cast<std::size_t>(count) * sizeof(T) + 255) / 256 * 256;
  }
  std::size_t size() const { return size_; }

 private:
  std::byte* memory_;
  std::size_t size_ = 0;
};

std::size_t place_scratch(Arguments& a, std::int64_t rows, void* memory) {
  Layout layout(memory);
  const std::int64_t selections = a.num_top > 0 ? 2 : 1;
  layout.place(a.adjusted, rows * a.pitch);
  layout.place(a.best, rows * a.parts);
  layout.place(a.part_highest, rows * a.parts);
  layout.place(a.part_sum, rows * a.parts);
  layout.place(a.states, selections * rows);
  layout.place(a.counts, selections * rows * kBuckets);
  layout.place(a.masses, rows * kBuckets);
  layout.place(a.listed, selections * rows * a.vocab);
  layout.place(a.winners, rows * a.race_blocks);
  layout.place(a.chosen, rows * a.num_top);
  return layout.size();
}

}  // namespace

void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs) {
  const std::int64_t rows = logits.dim(0);
  const std::int64_t vocab = logits.dim(1);
  SG_CHECK(ShapeError, vocab < std::int64_t{1} << 30, "sample: ", vocab, " tokens are too many");
  if (rows == 0) return;
  Arguments a{};
  a.logits = input<float>(logits);
  a.vocab = static_cast<std::uint32_t>(vocab);
  a.parts = ceil_div(vocab, kPart);
  a.aligned = vocab % kQuad == 0 && reinterpret_cast<std::uintptr_t>(a.logits) % 16 == 0;
  a.id_bits = std::bit_width(a.vocab);
  // Masses are at most 1, so their sum stays below 2^62.
  a.mass_scale = static_cast<double>(std::uint64_t{1} << (62 - a.id_bits));
  a.in = parameters_of(inputs);
  a.token_ids = output<std::int32_t>(outputs.token_ids);
  a.logprobs = outputs.logprobs.defined();
  if (a.logprobs) {
    a.token_logprobs = output<float>(outputs.logprobs);
    a.num_top = static_cast<std::uint32_t>(outputs.top_ids.dim(1));
    a.top_ids = output<std::int32_t>(outputs.top_ids);
    a.top_logprobs = output<float>(outputs.top_logprobs);
  }
  a.fault = context.stream->fault();
  a.pitch = ceil_div(vocab, kQuad) * std::int64_t{kQuad};
  const unsigned selections = a.num_top > 0 ? 2 : 1;
  const std::int64_t row_bytes = (a.pitch + selections * vocab) * 4;
  const std::int64_t turn =
      std::clamp(kTurnBytes / row_bytes, std::int64_t{1}, std::min(rows, kRowsAtOnce));
  const std::int64_t filling =
      ceil_div(kBlocksPerMultiprocessor * context.stream->num_multiprocessors(), turn);
  a.race_blocks = static_cast<std::uint32_t>(
      std::min<std::int64_t>(filling, ceil_div(vocab, kThreads * kQuad)));
  place_scratch(a, turn, context.stream->scratch(place_scratch(a, turn, nullptr)));

  for (std::int64_t first = 0; first < rows; first += turn) {
    const auto count = static_cast<unsigned>(std::min(turn, rows - first));
    a.first_row = static_cast<int>(first);
    launch(reduce_parts, dim3(a.parts, count), dim3(kThreads), 0, context, a);
    launch(find_buckets, dim3(a.race_blocks, count, selections), dim3(kThreads), 0, context, a);
    launch(run_race, dim3(a.race_blocks, count, selections), dim3(kThreads), 0, context, a);
    launch(finish, dim3(1, count, selections), dim3(kFinishThreads), 0, context, a);
  }
}

}  // namespace stagegate::cuda

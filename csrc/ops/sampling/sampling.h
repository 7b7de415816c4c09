#pragma once

#include <iterator>
#include <string_view>

#include "core/tensor.h"
#include "device/context.h"
#include "ops/sampling/parameters.h"

namespace stagegate {

// What is one number a row.
struct SamplingColumns {
// [R] each, as the table states them.
#define STAGEGATE_TENSOR(name, ...) Tensor name;
  STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_TENSOR)
#undef STAGEGATE_TENSOR
  Tensor seed;  // i64 [R], all 64 bits used
  // i64 [R], how many tokens the sequence has sampled before this one; kPaddedRow: there is no
  // sequence, and the row's logits and parameters are not looked at.
  Tensor draw_index;
};

inline constexpr std::int64_t kPaddedRow = -1;

// One row per token to sample. All tensors live on the device of the logits.
struct SamplingInputs : SamplingColumns {
  // Tokens the penalties look at: of row r the first history_lens[r] of list history_rows[r]. The
  // first history_prompts[s] tokens of list s are the prompt's, which count for repetition_penalty
  // alone; those behind were generated. Undefined, or a row of -1: none. A row without a penalty
  // reads no token of its list.
  Tensor history_rows;     // i32 [R]
  Tensor history_lens;     // i32 [R]
  Tensor history_prompts;  // i32 [S]
  Tensor history_tokens;   // i32 [S, L]
  // Added to the logits first; -inf forbids a token.
  Tensor bias_ptr;     // i32 [R + 1]
  Tensor bias_ids;     // i32 [Q]
  Tensor bias_values;  // f32 [Q]
  // Which tokens may be drawn: bit t % 32 of word t / 32 for token t. Undefined, or a row of -1:
  // all.
  Tensor mask_index;  // i32 [R], the row of mask_bits
  Tensor mask_bits;   // i32 [G, ceil(V / 32)]
};

// A tensor of a struct, to go through all of them.
template <typename Struct>
struct Field {
  using Member = Tensor Struct::*;
  std::string_view name;
  Member tensor;
  bool optional = false;
};

struct SamplingColumn : Field<SamplingColumns> {
  DType dtype;
};

// Every field of SamplingColumns.
inline constexpr SamplingColumn kSamplingColumns[] = {
#define STAGEGATE_COLUMN(name, type, ...) {{#name, &SamplingColumns::name}, dtype_of<type>::value},
    STAGEGATE_SAMPLING_PARAMETERS(STAGEGATE_COLUMN)
#undef STAGEGATE_COLUMN
        {{"seed", &SamplingColumns::seed}, DType::kI64},
    {{"draw_index", &SamplingColumns::draw_index}, DType::kI64},
};
// And of SamplingInputs beside them.
inline constexpr Field<SamplingInputs> kSamplingLists[] = {
    {"history_rows", &SamplingInputs::history_rows, true},
    {"history_lens", &SamplingInputs::history_lens, true},
    {"history_prompts", &SamplingInputs::history_prompts, true},
    {"history_tokens", &SamplingInputs::history_tokens, true},
    {"bias_ptr", &SamplingInputs::bias_ptr},
    {"bias_ids", &SamplingInputs::bias_ids},
    {"bias_values", &SamplingInputs::bias_values},
    {"mask_index", &SamplingInputs::mask_index, true},
    {"mask_bits", &SamplingInputs::mask_bits, true},
};
// One that is left out here would never reach a device.
static_assert(std::size(kSamplingColumns) * sizeof(Tensor) == sizeof(SamplingColumns));
static_assert(sizeof(SamplingColumns) + std::size(kSamplingLists) * sizeof(Tensor) ==
              sizeof(SamplingInputs));

struct SamplingOutputs {
  Tensor token_ids;     // i32 [R]
  Tensor logprobs;      // f32 [R], of the drawn token
  Tensor top_ids;       // i32 [R, N], most likely first, lower id first among equals
  Tensor top_logprobs;  // f32 [R, N]
};

// Draws one token a row from f32 logits [R, V]. Order: mask, logit bias, penalties, then greedy
// argmax where temperature is 0; else temperature, min-p, top-k, top-p, and a draw by the
// Gumbel-max rule. The noise of token i is a function of (seed, draw_index, i) alone
// (Philox4x32-10, Salmon et al., 2011), so a draw does not depend on the neighbours in the batch.
// Ties in top-k and top-p keep the lower id. Log-probabilities are those of the model: log-softmax
// of the logits as they came in, in f32. N may be 0; `logprobs` undefined skips them altogether.
// A logit of -inf has probability 0. A padded row gets 0 for every result. Throws ArgumentError
// naming the row and the parameter outside its range, the row and a token with a logit of NaN or
// +inf, drawn or masked, or a row without a finite logit.
void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs);

}  // namespace stagegate

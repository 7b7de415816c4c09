#pragma once

#include "core/tensor.h"
#include "device/context.h"
#include "ops/sampling/sampling.h"

namespace stagegate {

// What a device keeps of the sequences that run, so that a decode needs nothing from the host but
// the rows it is for: S rows, each of one sequence from its admission to its end. All tensors live
// on the device of the context.
struct DecodeRows : SamplingColumns {  // [S] each
  Tensor last_token;    // i32 [S], the newest token; its keys and values are not in the cache yet
  Tensor context_len;   // i32 [S], the tokens before it, whose keys and values are
  Tensor block_tables;  // i32 [S, W], as in ops/paged_attention; W is 0 where there are no tables
  // What penalties look at, up to last_token; see SamplingInputs. L is the most tokens of a
  // sequence that have keys and values. The tokens of a sequence without a penalty are never read.
  Tensor prompt_len;  // i32 [S], tokens of the prompt
  Tensor tokens;      // i32 [S, L], the token of each position
};

// What the host knows and the rows do not: rows that begin, and blocks that were appended. A row
// whose sequence has a penalty brings its tokens up to the newest that is known, any other none.
struct RowChanges : SamplingColumns {  // [C] each
  Tensor rows;                         // i32 [C]
  Tensor last_token;                   // i32 [C]
  Tensor context_len;                  // i32 [C]
  Tensor prompt_len;                   // i32 [C]
  Tensor token_ptr;                    // i32 [C + 1]
  Tensor tokens;                       // i32 [N], of row i those from token_ptr[i] on
  Tensor block_rows;                   // i32 [A]
  Tensor block_indices;                // i32 [A], which block of the row's table
  Tensor block_ids;                    // i32 [A]
};

// Operands of a decode of n sequences with one token each, as the layers and sample take them.
struct DecodeOperands : SamplingColumns {  // [n] each
  Tensor input_ids;                        // i32 [n]
  Tensor positions;                        // i32 [n]
  Tensor slot_mapping;                     // i32 [n]
  Tensor context_lens;                     // i32 [n], this token included
  Tensor block_tables;                     // i32 [n, W]
};

// Every field of each beside its columns.
inline constexpr Field<DecodeRows> kDecodeRowsFields[] = {
    {"last_token", &DecodeRows::last_token},
    {"context_len", &DecodeRows::context_len},
    {"block_tables", &DecodeRows::block_tables},
    {"prompt_len", &DecodeRows::prompt_len},
    {"tokens", &DecodeRows::tokens},
};
inline constexpr Field<RowChanges> kRowChangesFields[] = {
    {"rows", &RowChanges::rows},
    {"last_token", &RowChanges::last_token},
    {"context_len", &RowChanges::context_len},
    {"prompt_len", &RowChanges::prompt_len},
    {"token_ptr", &RowChanges::token_ptr},
    {"tokens", &RowChanges::tokens},
    {"block_rows", &RowChanges::block_rows},
    {"block_indices", &RowChanges::block_indices},
    {"block_ids", &RowChanges::block_ids},
};
inline constexpr Field<DecodeOperands> kDecodeOperandsFields[] = {
    {"input_ids", &DecodeOperands::input_ids},
    {"positions", &DecodeOperands::positions},
    {"slot_mapping", &DecodeOperands::slot_mapping},
    {"context_lens", &DecodeOperands::context_lens},
    {"block_tables", &DecodeOperands::block_tables},
};

// Sets the rows `changes.rows` in all but their tables, their tokens from position 0 on, and
// block_tables[block_rows[i], block_indices[i]] = block_ids[i]. No row is set twice, nor an entry
// of a table. Throws ArgumentError naming the first row, index or list of tokens out of range; what
// is in range may have been set by then.
void set_rows(const Context& context, const RowChanges& changes, const DecodeRows& state);

// Operands of a decode from the rows of its sequences.
//   rows  i32 [n]; -1 is a padded row: token 0, position 0, slot -1, context length 0, which the
//         operators skip, and kPaddedRow for sample
// The entries of block_tables past the last block of a sequence are not written. Throws
// ArgumentError naming the first row outside [-1, S), and the first sequence whose next token has
// no place in its table.
void gather_rows(const Context& context, const DecodeRows& state, const Tensor& rows,
                 std::int64_t block_size, const DecodeOperands& out);

// Writes what was sampled to the rows of its sequences. Row rows[i] then has token_ids[i] as its
// last token and as that of position context_lens[i], context_lens[i] tokens in the cache, and
// draw_index[i] + 1 sampled tokens. A position past the last is no fault: nothing decodes from it.
//   rows, token_ids, context_lens  i32 [n]; a row of -1 is skipped, none is named twice
//   draw_index                     i64 [n]
// Throws ArgumentError naming the first row outside [-1, S).
void record_samples(const Context& context, const Tensor& rows, const Tensor& token_ids,
                    const Tensor& context_lens, const Tensor& draw_index, const DecodeRows& state);

}  // namespace stagegate

#pragma once

#include "device/context.h"
#include "ops/attention/call.h"

// The kernels of attention. Each computes the contract of the form it is called with; what it takes
// is a line of the table in select.cpp. Scores, maxima, totals and sums are f32.
namespace stagegate {

namespace cpu {

// Every form, over one inner kernel for each instruction set: all agree bit for bit on the same
// visible rows.
void attention(const Context& context, const AttentionCall& call);

}  // namespace cpu

namespace cuda {

// On CUDA cores, in an order that depends on nothing but the position of a key among those its
// query sees: all forms agree bit for bit.
inline constexpr int kMaxHeadDim = 256;  // more than shared memory holds
void attention_general(const Context& context, const AttentionCall& call);

// On tensor cores: the heads that share a key head are the rows of one product. Each query is on
// its own, so this is for queries that see nearly different keys, as in a decode. Weights are
// rounded to the dtype for the product with the values. The keys of a query are added up in an
// order that depends on what the other queries see, and on nothing else: not on time.
void attention_decode(const Context& context, const AttentionCall& call);

// On tensor cores, paged. Weights are rounded to the dtype for the product with the values. A tile
// of values is multiplied whole, by zero where a row does not see one, so the later tokens of a
// sequence need finite values, as in FlashAttention-2.
void attention_prefill(const Context& context, const AttentionCall& call);

// The same on Hopper, where the copy engine reads the cache block by block. Weights are relative to
// a score that may be less than the largest, so they are up to 2^8. Keys that few tiles of queries
// see are cut into pieces, depending on the sequences of the call.
inline constexpr int kHopperKeys = 128;     // of a tile
inline constexpr int kMaxHopperGroup = 64;  // query heads of a key head
void attention_prefill_hopper(const Context& context, const AttentionCall& call);

// Paged, by FlashInfer (Ye et al., arXiv 2501.01005), a second implementation to compare ours with;
// defined where kFlashInferEnabled. Weights are rounded to the dtype for the product with the
// values and for their total. Where the keys of a sequence are cut into chunks, so is the result of
// each.
void attention_flashinfer(const Context& context, const AttentionCall& call);

}  // namespace cuda

}  // namespace stagegate

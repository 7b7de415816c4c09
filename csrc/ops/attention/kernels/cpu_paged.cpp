#include <algorithm>

#include "ops/attention/faults.h"
#include "ops/attention/kernels/cpu_attend.h"

namespace stagegate::cpu {

namespace {

// The cache slots of a sequence in order of position, its table entries checked.
std::vector<std::int32_t> slots_of(const Tensor& block_tables, std::int64_t sequence,
                                   std::int64_t length, std::int64_t block_size,
                                   std::int64_t num_slots) {
  const std::int64_t width = block_tables.dim(1);
  SG_CHECK(ArgumentError, length <= width * block_size,
           describe(make_fault(AttentionFault::kTableTooShort, length, sequence, width * block_size,
                               static_cast<double>(width))));
  const auto* table = block_tables.data<std::int32_t>() + sequence * width;
  std::vector<std::int32_t> slots(static_cast<std::size_t>(length));
  for (std::int64_t p = 0; p < length; ++p) {
    const std::int64_t block = table[p / block_size];
    SG_CHECK(ArgumentError, block >= 0 && (block + 1) * block_size <= num_slots,
             describe(make_fault(AttentionFault::kBlock, block, sequence, num_slots / block_size,
                                 static_cast<double>(p / block_size))));
    slots[static_cast<std::size_t>(p)] =
        static_cast<std::int32_t>(block * block_size + p % block_size);
  }
  return slots;
}

}  // namespace

void attend_form(const Context& context, const AttentionCall& call, const PagedForm& paged) {
  const auto& [block_tables, context_lens, cu_seqlens_q, block_size, in_step] = paged;
  const std::int64_t sequences = context_lens.dim(0);
  const auto* first_query = cu_seqlens_q.data<std::int32_t>();
  const auto* lengths = context_lens.data<std::int32_t>();
  SG_CHECK(ArgumentError, first_query[0] == 0 && first_query[sequences] == call.q.dim(0),
           describe(make_fault(AttentionFault::kQueryRange, first_query[0], first_query[sequences],
                               call.q.dim(0))));
  std::vector<std::vector<std::int32_t>> slots(static_cast<std::size_t>(sequences));
  for (std::int64_t b = 0; b < sequences; ++b) {
    const std::int64_t queries = std::int64_t{first_query[b + 1]} - first_query[b];
    SG_CHECK(ArgumentError, queries >= 0 && (queries <= lengths[b] || lengths[b] == 0),
             describe(make_fault(AttentionFault::kQueries, queries, b, lengths[b])));
    slots[static_cast<std::size_t>(b)] =
        slots_of(block_tables, b, lengths[b], block_size, call.k.dim(0));
  }
  attend(context, call, [&](std::int64_t t, std::vector<std::int32_t>&) {
    const std::int64_t b =
        std::upper_bound(first_query, first_query + sequences + 1, t) - first_query - 1;
    const std::int64_t visible = lengths[b] == 0 ? 0 : lengths[b] - (first_query[b + 1] - t) + 1;
    return std::span<const std::int32_t>(slots[static_cast<std::size_t>(b)].data(),
                                         static_cast<std::size_t>(visible));
  });
}

}  // namespace stagegate::cpu

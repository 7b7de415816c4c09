#include "ops/attention/faults.h"
#include "ops/attention/kernels/cpu_attend.h"

namespace stagegate::cpu {

namespace {

constexpr std::int32_t kPadding = -1;

std::span<const std::int32_t> without_padding(std::span<const std::int32_t> used) {
  while (!used.empty() && used.back() == kPadding) used = used.first(used.size() - 1);
  return used;
}

void check_used_slots(std::span<const std::int32_t> used, std::int64_t num_slots) {
  for (std::size_t i = 0; i < used.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    SG_CHECK(ArgumentError, used[i] >= 0 && used[i] < num_slots,
             describe(make_fault(AttentionFault::kUsedSlot, used[i], at, num_slots)));
    SG_CHECK(ArgumentError, i == 0 || used[i - 1] < used[i],
             describe(make_fault(AttentionFault::kUsedSlotOrder, used[i], at)));
  }
}

void check_row_ptr(std::span<const std::int32_t> row_ptr, const Tensor& col_idx) {
  const std::int64_t entries = col_idx.numel();
  const std::int32_t last = row_ptr.back();
  const bool ends = last == entries ||
                    (last >= 0 && last < entries && col_idx.data<std::int32_t>()[last] == kPadding);
  SG_CHECK(ArgumentError, row_ptr.front() == 0 && ends,
           describe(make_fault(AttentionFault::kRowPtrRange, row_ptr.front(), last, entries)));
  for (std::size_t t = 1; t < row_ptr.size(); ++t) {
    SG_CHECK(
        ArgumentError, row_ptr[t - 1] <= row_ptr[t],
        describe(make_fault(AttentionFault::kRowPtr, row_ptr[t], static_cast<std::int64_t>(t))));
  }
}

}  // namespace

void attend_form(const Context& context, const AttentionCall& call, const CsrForm& csr) {
  const auto& [used_slots, row_ptr, col_idx] = csr;
  const std::span<const std::int32_t> used = without_padding(
      {used_slots.data<std::int32_t>(), static_cast<std::size_t>(used_slots.numel())});
  const std::span<const std::int32_t> rows(row_ptr.data<std::int32_t>(),
                                           static_cast<std::size_t>(row_ptr.numel()));
  check_used_slots(used, call.k.dim(0));
  check_row_ptr(rows, col_idx);
  const auto* columns = col_idx.data<std::int32_t>();
  attend(context, call, [&](std::int64_t t, std::vector<std::int32_t>& slots) {
    slots.clear();
    std::int32_t before = -1;
    for (std::int32_t at = rows[t]; at < rows[t + 1]; ++at) {
      const std::int32_t column = columns[at];
      SG_CHECK(ArgumentError, column > before && column < static_cast<std::int64_t>(used.size()),
               describe(make_fault(AttentionFault::kColIdx, column, t,
                                   static_cast<std::int64_t>(used.size()), at)));
      before = column;
      slots.push_back(used[static_cast<std::size_t>(column)]);
    }
    return std::span<const std::int32_t>(slots);
  });
}

}  // namespace stagegate::cpu

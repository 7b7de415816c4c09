#pragma once

#include <cstdint>

#include "device/cuda/kernel.cuh"
#include "ops/attention/faults.h"
#include "ops/attention/kernels/device_keys.h"

// Which keys a query sees and where they lie: what every attention kernel agrees on.
namespace stagegate::cuda {

// What a query sees: `count` keys. origin: its sequence (paged) or first entry of col_idx (CSR).
struct Visible {
  int count;
  int origin;
};

// The queries of a sequence. Entries of wrong metadata differ by what 32 bits do not hold.
__device__ inline std::int64_t num_queries(const PagedKeys& keys, int sequence) {
  return std::int64_t{keys.first_query[sequence + 1]} - keys.first_query[sequence];
}

// The tokens of a sequence, or -1 when its metadata is wrong.
__device__ inline int checked_length(const PagedKeys& keys, int sequence, Fault* fault) {
  const int length = keys.context_lens[sequence];
  const std::int64_t queries = num_queries(keys, sequence);
  const std::int64_t room = static_cast<std::int64_t>(keys.width) * keys.block_size;
  if (queries < 0 || (queries > length && length != 0)) {
    report(fault, AttentionFault::kQueries, queries, sequence, length);
    return -1;
  }
  if (length > room) {
    report(fault, AttentionFault::kTableTooShort, length, sequence, room, keys.width);
    return -1;
  }
  return length;
}

// Entry `column` of a sequence's block table; -1 when it is wrong.
__device__ inline std::int32_t paged_block(const PagedKeys& keys, int sequence, int column,
                                           Fault* fault) {
  const std::int64_t block =
      keys.block_tables[static_cast<std::int64_t>(sequence) * keys.width + column];
  if (block < 0 || (block + 1) * keys.block_size > keys.num_slots) {
    report(fault, AttentionFault::kBlock, block, sequence, keys.num_slots / keys.block_size,
           column);
    return -1;
  }
  return static_cast<std::int32_t>(block);
}

// The slot of a position below the length of its sequence; -1 when its block is wrong.
__device__ inline std::int32_t paged_slot(const PagedKeys& keys, int sequence, int position,
                                          Fault* fault) {
  const std::int32_t block = paged_block(keys, sequence, position / keys.block_size, fault);
  return block < 0 ? -1 : block * keys.block_size + position % keys.block_size;
}

__device__ inline Visible paged_visible(const PagedKeys& keys, int query, Fault* fault) {
  const std::int32_t* first = keys.first_query;
  int sequence = query;  // where every sequence has one query
  if (query >= keys.sequences || first[query] != query || first[query + 1] != query + 1) {
    int low = 0;
    int high = keys.sequences + 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (first[middle] <= query) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == 0 || low > keys.sequences) return {0, 0};  // kQueryRange is reported elsewhere
    sequence = low - 1;
  }
  const int length = checked_length(keys, sequence, fault);
  if (length <= 0) return {0, sequence};
  return {length - (first[sequence + 1] - query) + 1, sequence};
}

__device__ inline Visible visible(const Keys& keys, int query, Fault* fault) {
  switch (keys.kind) {
    case Keys::Kind::kPaged:
      return paged_visible(keys.paged, query, fault);
    case Keys::Kind::kCsr: {
      const int first = keys.csr.row_ptr[query];
      const int last = keys.csr.row_ptr[query + 1];
      if (first < 0 || first > last || last > keys.csr.entries)
        return {0, 0};  // see check_metadata
      // A longer row repeats itself, which one entry more than there are slots shows.
      return {min(last - first, keys.csr.used + 1), first};
    }
    default:
      return {keys.dense.before + query + 1, 0};
  }
}

// Whether a query is the only one of its sequence and sees no more than `count` keys. False where
// that takes more than one look to find out.
__device__ inline bool sees_at_most(const Keys& keys, int query, int count) {
  if (keys.kind != Keys::Kind::kPaged || query >= keys.paged.sequences) return false;
  const int first = keys.paged.first_query[query];
  const int end = keys.paged.first_query[query + 1];
  const int length = keys.paged.context_lens[query];
  return first == query && end == query + 1 && length <= count;
}

// Whether an entry of used_slots is one of those behind the slots, which nobody may refer to. An
// entry before them of the same value is wrong, and so is what comes behind it.
__device__ inline bool is_padding(const CsrKeys& keys, std::int64_t i) {
  return keys.used_slots[i] == CsrKeys::kPadding &&
         (i + 1 == keys.used || keys.used_slots[i + 1] == CsrKeys::kPadding);
}

// Where the i-th key that a query sees lies; -1 when there is none such.
__device__ inline std::int32_t slot_of(const Keys& keys, const Visible& seen, int query, int i,
                                       Fault* fault) {
  switch (keys.kind) {
    case Keys::Kind::kPaged:
      return paged_slot(keys.paged, seen.origin, i, fault);
    case Keys::Kind::kCsr: {
      const CsrKeys& csr = keys.csr;
      const int at = seen.origin + i;
      const int column = csr.col_idx[at];
      const int before = i == 0 ? -1 : csr.col_idx[at - 1];
      if (column < 0 || column <= before || column >= csr.used || is_padding(csr, column)) {
        report(fault, AttentionFault::kColIdx, column, query, csr.used, at);
        return -1;
      }
      const std::int32_t slot = csr.used_slots[column];
      return slot < 0 || slot >= csr.num_slots ? -1 : slot;  // reported by check_metadata
    }
    default:
      return i;
  }
}

// What no single query finds out, checked by all threads of a grid together: worker of workers.
__device__ inline void check_metadata(const Keys& keys, std::int64_t worker, std::int64_t workers,
                                      Fault* fault) {
  if (keys.kind == Keys::Kind::kPaged) {
    const PagedKeys& paged = keys.paged;
    const int first = paged.first_query[0];
    const int last = paged.first_query[paged.sequences];
    if (worker == 0 && (first != 0 || last != paged.queries)) {
      report(fault, AttentionFault::kQueryRange, first, last, paged.queries);
    }
    if (first != 0 || last != paged.queries) return;
    for (std::int64_t b = worker; b < paged.sequences; b += workers) {
      checked_length(paged, static_cast<int>(b), fault);
    }
  } else if (keys.kind == Keys::Kind::kCsr) {
    const CsrKeys& csr = keys.csr;
    const int first = csr.row_ptr[0];
    const int last = csr.row_ptr[csr.queries];
    const bool ends = last == csr.entries ||
                      (last >= 0 && last < csr.entries && csr.col_idx[last] == CsrKeys::kPadding);
    if (worker == 0 && (first != 0 || !ends)) {
      report(fault, AttentionFault::kRowPtrRange, first, last, csr.entries);
    }
    for (std::int64_t t = worker + 1; t <= csr.queries; t += workers) {
      if (csr.row_ptr[t - 1] > csr.row_ptr[t] && first == 0 && ends) {
        report(fault, AttentionFault::kRowPtr, csr.row_ptr[t], t);
      }
    }
    for (std::int64_t i = worker; i < csr.used; i += workers) {
      if (is_padding(csr, i)) continue;
      const std::int32_t slot = csr.used_slots[i];
      if (slot < 0 || slot >= csr.num_slots) {
        report(fault, AttentionFault::kUsedSlot, slot, i, csr.num_slots);
      } else if (i > 0 && csr.used_slots[i - 1] >= slot) {
        // An entry outside the cache is the fault of that entry, not of the one behind it.
        const std::int32_t before = csr.used_slots[i - 1];
        if (before < csr.num_slots) report(fault, AttentionFault::kUsedSlotOrder, slot, i);
      }
    }
  }
}

}  // namespace stagegate::cuda

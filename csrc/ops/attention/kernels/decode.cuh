#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <variant>

#include "device/cuda/launch.h"
#include "device/cuda/tensor_map.h"
#include "ops/attention/kernels/decode.h"
#include "ops/attention/kernels/decode_kernel.cuh"

// How the decode kernel is launched: as one wave of workers, whatever the lengths are.
namespace stagegate::cuda {
namespace {

// Units of keys a block is worth: with fewer, a short context would be cut among several workers,
// and joining these costs more than reading one behind the other.
constexpr int kFewestUnitsOfBlock = 8;

// log2 of the blocks of a worker. Blocks of a cluster join what they have without a detour over
// global memory, but wait for each other at the end of every item. So a few items of short contexts
// get the widest workers, which need not cut them; some get pairs, which halve the parts of those
// that are cut; and many get single blocks.
int cluster_shift_for(const Context& context, std::int64_t items, std::int64_t most_keys) {
  constexpr std::int64_t kFewItems = 16;
  constexpr std::int64_t kShortContext = 2048;
  if (context.stream->compute_capability() != kHopper) return 0;
  if (items <= kFewItems && most_keys <= kShortContext) return kColumnsShift;
  return items <= context.stream->num_multiprocessors() ? 1 : 0;
}

Lookup lookup_of(const Context& context, const AttentionCall& call, int tiles) {
  Lookup lookup{};
  lookup.keys = device_keys(call);
  lookup.queries = static_cast<int>(call.q.dim(0));
  lookup.tiles = tiles;
  lookup.slots = static_cast<int>(call.k.dim(0));
  lookup.fault = context.stream->fault();
  if (const auto* const paged = std::get_if<PagedForm>(&call.form)) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    const std::int64_t size = paged->block_size;
    lookup.room = static_cast<int>(std::min(kMost, paged->block_tables.dim(1) * size));
    lookup.block_shift = std::has_single_bit(static_cast<std::uint64_t>(size))
                             ? std::countr_zero(static_cast<std::uint64_t>(size))
                             : -1;
    lookup.blocks = static_cast<unsigned>(call.k.dim(0) / size);
  }
  return lookup;
}

unsigned bytes_between(const Tensor& rows) {
  return static_cast<unsigned>(rows.stride(0)) * static_cast<unsigned>(size_of(rows.dtype()));
}

Operands operands_of(const Context& context, const AttentionCall& call, int heads_of_item) {
  const auto& [q, k, v, out, scale, form] = call;
  constexpr float kLog2E = 1.44269504f;
  Operands operands{};
  operands.q = q.raw_data();
  operands.out = out.raw_data();
  operands.q_stride = q.stride(0);
  operands.heads = static_cast<int>(q.dim(1));
  operands.group = static_cast<int>(q.dim(1) / k.dim(1));
  const auto head_tiles = static_cast<int>(ceil_div(operands.group, heads_of_item));
  operands.cache = {k.raw_data(), v.raw_data(), bytes_between(k), bytes_between(v), head_tiles};
  operands.lookup = lookup_of(context, call, static_cast<int>(k.dim(1)) * head_tiles);
  operands.scale_log2 = scale * kLog2E;
  const auto* const paged = std::get_if<PagedForm>(&form);
  operands.reads_early = paged != nullptr && paged->in_step;
  return operands;
}

// A unit of a head, or of its values, is one box.
CUtensorMap box_map(const Tensor& cache) {
  const std::int64_t parts = cache.dim(2) / kPartDim;
  return make_tensor_map(cache.raw_data(), cache.dtype(),
                         {{.size = kPartDim, .stride = 1, .box = kPartDim},
                          {.size = cache.dim(0), .stride = cache.stride(0), .box = kKeys},
                          {.size = cache.dim(1) * parts, .stride = kPartDim, .box = parts}},
                         CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE);
}

template <typename T, int kDim, int kProducts, Keys::Kind kKind, By kBy>
void launch_decode(const Context& context, const AttentionCall& call) {
  constexpr int kHeads = kProducts * kColumns;
  constexpr std::size_t kSharedBytes = sizeof(Shared<T, kDim>);
  const auto kernel = decode_kernel<T, kDim, kProducts, kKind, kBy>;
  Operands operands = operands_of(context, call, kHeads);
  if constexpr (kBy == By::kBoxes) operands.boxes = {box_map(call.k), box_map(call.v)};
  const std::int64_t items = std::int64_t{operands.lookup.queries} * operands.lookup.tiles;
  operands.cluster_shift = cluster_shift_for(context, items, max_keys(call));
  const unsigned cluster = 1u << operands.cluster_shift;
  operands.fewest_units = kFewestUnitsOfBlock << operands.cluster_shift;

  const std::int64_t at_once =
      clusters_at_once(cluster, kernel, dim3(kThreads), kSharedBytes, context);
  const std::int64_t shares =
      items * ceil_div(ceil_div(max_keys(call), kKeys) + 1, operands.fewest_units);
  operands.workers = static_cast<int>(std::min(at_once, shares));
  const auto slots = static_cast<std::size_t>(2 * operands.workers) * kHeads;
  operands.parts.sums =
      static_cast<float*>(context.stream->scratch(slots * (kDim * sizeof(float) + sizeof(float2))));
  operands.parts.weights = reinterpret_cast<float2*>(operands.parts.sums + slots * kDim);
  const unsigned blocks = static_cast<unsigned>(operands.workers) * cluster;
  operands.parts.arrived = context.stream->counters(blocks);
  const Order order = operands.reads_early ? order_after_previous(context) : Order::kAfter;
  launch_clusters(order, cluster, kernel, dim3(blocks), dim3(kThreads), kSharedBytes, context,
                  operands);
}

template <typename T, int kDim, int kProducts>
void launch_form(const Context& context, const AttentionCall& call) {
  const auto* const paged = std::get_if<PagedForm>(&call.form);
  if (paged == nullptr) {
    launch_decode<T, kDim, kProducts, Keys::Kind::kCsr, By::kRows>(context, call);
  } else if (context.stream->compute_capability() == kHopper && paged->block_size % kKeys == 0 &&
             call.k.dim(0) > 0) {
    launch_decode<T, kDim, kProducts, Keys::Kind::kPaged, By::kBoxes>(context, call);
  } else {
    launch_decode<T, kDim, kProducts, Keys::Kind::kPaged, By::kRows>(context, call);
  }
}

template <typename T, int kDim>
void launch_heads(const Context& context, const AttentionCall& call) {
  if (call.q.dim(1) / call.k.dim(1) <= kColumns) return launch_form<T, kDim, 1>(context, call);
  launch_form<T, kDim, 2>(context, call);
}

}  // namespace

template <typename T>
void attend_decode(const Context& context, const AttentionCall& call) {
  if (call.q.dim(2) == 64) return launch_heads<T, 64>(context, call);
  launch_heads<T, 128>(context, call);
}

}  // namespace stagegate::cuda

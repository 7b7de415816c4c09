#pragma once

#include <type_traits>

#include "device/cuda/launch.h"
#include "device/cuda/tensor_map.h"
#include "ops/linear/kernels/wide_plan.h"
#include "ops/linear/kernels/wide_product.cuh"

namespace stagegate::cuda::wide {

// What is multiplied. parts: 2 where the first half of the rows of the weight is paired with the
// second in every tile, else 1.
struct Product {
  const Tensor& weight;  // [width, depth]
  int parts;
  const Tensor& x;   // [rows, ...], a row of depth elements
  const void* norm;  // [depth], or null
  float eps;
  int splits;
};

template <typename Tiling>
Operands describe(const Product& product) {
  constexpr int kBoxes = Tiling::kRows / kBoxRows;
  const DType dtype = product.x.dtype();
  const std::int64_t depth = product.weight.dim(1);
  const std::int64_t part_rows = product.weight.dim(0) / product.parts;
  const std::int64_t boxes = kBoxes / product.parts;
  return {.weight = make_tensor_map(product.weight.raw_data(), dtype,
                                    {{depth, 1, kDepth},
                                     {kBoxRows, depth, kBoxRows},
                                     {product.parts, part_rows * depth, product.parts},
                                     {part_rows / kBoxRows, kBoxRows * depth, boxes}}),
          .x = make_tensor_map(product.x.raw_data(), dtype,
                               {{depth, 1, kDepth}, {product.x.dim(0), depth, Tiling::kColumns}}),
          .norm = product.norm,
          .eps = product.eps,
          .rows = static_cast<int>(product.x.dim(0)),
          .depth = static_cast<int>(depth),
          .splits = product.splits,
          .tile_boxes = static_cast<int>(boxes)};
}

// Calls fn with the columns of a tile as a constant.
template <typename Fn>
void dispatch_columns(std::int64_t rows, Fn&& fn) {
  if (stagegate::wide::columns_of(rows) == 32) return fn(std::integral_constant<int, 32>{});
  fn(std::integral_constant<int, 64>{});
}

// A tile of three groups has a multiprocessor to itself.
template <typename T, int kGroups, bool kNormed, bool kSplit, typename Epilogue>
void launch_product(const Context& context, const Product& product, const Epilogue& epilogue) {
  dispatch_columns(product.x.dim(0), [&](auto columns) {
    constexpr int kBlocks = kGroups < 3 ? 2 : 1;
    using Tile = Tiling<T, decltype(columns)::value, kGroups, kNormed, kSplit, kBlocks>;
    const auto splits = static_cast<unsigned>(product.splits);
    const unsigned tiles = ceil_div(product.weight.dim(0), Tile::kRows);
    const unsigned steps = ceil_div(product.weight.dim(1), kDepth);
    launch_clusters(Order::kChained, splits, wide_kernel<Tile, Epilogue>, tiles * splits,
                    Tile::kThreads, shared_bytes<Tile>(static_cast<int>(ceil_div(steps, splits))),
                    context, describe<Tile>(product), epilogue);
  });
}

}  // namespace stagegate::cuda::wide

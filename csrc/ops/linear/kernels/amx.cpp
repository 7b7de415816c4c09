#include <algorithm>
#include <memory>

#include "ops/linear/kernels/isa.h"
#include "ops/linear/kernels/kernels.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

namespace {

using simd::kPackedStep;
using simd::kPackedStrip;
using simd::kPackedTile;

// Bounds the scratch memory; the weights are read again for the rows behind these.
constexpr std::int64_t kMostRows = 512;

struct alignas(64) Line {
  std::byte bytes[64];
};

template <typename T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : lines_(std::make_unique_for_overwrite<Line[]>(
            (static_cast<std::size_t>(count) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line))) {}
  T* data() const { return reinterpret_cast<T*>(lines_.get()); }

 private:
  std::unique_ptr<Line[]> lines_;
};

std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

}  // namespace

bool linear_amx(const Context& context, const LinearProblem& problem,
                const LinearOperands& operands) {
  const auto& [x, weight, bias, out] = operands;
  const auto& kernels = simd::kernels<simd::LinearKernels>(context.instruction_set);
  const std::int64_t rows = problem.rows;
  const std::int64_t depth = problem.depth;
  const std::int64_t width = problem.width;
  const std::int64_t most_rows = std::min(rows, kMostRows);
  const std::int64_t columns = std::min(rows, kPackedTile);
  const std::int64_t packed_tile = divide_up(depth, kPackedStep) * (kPackedStep / 2) * columns;
  const std::int64_t weight_tiles = divide_up(width, kPackedTile);
  const std::int64_t workers = std::min<std::int64_t>(context.num_threads, weight_tiles);
  const std::int64_t row_tiles = divide_up(most_rows, kPackedTile);
  const std::int64_t strip = std::min(divide_up(weight_tiles, workers) * kPackedTile, kPackedStrip);
  const std::int64_t worker_sums = strip * row_tiles * kPackedTile;
  const Scratch<std::uint32_t> packed(row_tiles * packed_tile);
  const Scratch<float> sums(workers * worker_sums);
  const bool out_is_float = out.dtype() == DType::kF32;
  for (std::int64_t first = 0; first < rows; first += most_rows) {
    const std::int64_t count = std::min(rows - first, most_rows);
    parallel_for(divide_up(count, kPackedTile), context.num_threads, [&](std::int64_t tile) {
      const std::int64_t row = tile * kPackedTile;
      kernels.pack_rows({
          .x = x.data<bfloat16>() + (first + row) * x.stride(0),
          .x_stride = x.stride(0),
          .rows = std::min(count - row, kPackedTile),
          .depth = depth,
          .columns = columns,
          .packed = packed.data() + tile * packed_tile,
      });
    });
    parallel_for(workers, context.num_threads, [&](std::int64_t worker) {
      kernels.linear_packed({
          .packed = packed.data(),
          .packed_tile = packed_tile,
          .columns = columns,
          .weight = weight.data<bfloat16>(),
          .bias = bias.defined() ? bias.data<bfloat16>() : nullptr,
          .out = static_cast<std::byte*>(out.raw_data()) +
                 first * width *
                     static_cast<std::int64_t>(out_is_float ? sizeof(float) : sizeof(bfloat16)),
          .out_stride = width,
          .out_is_float = out_is_float,
          .rows = count,
          .depth = depth,
          .first = weight_tiles * worker / workers * kPackedTile,
          .last = std::min(weight_tiles * (worker + 1) / workers * kPackedTile, width),
          .sums = sums.data() + worker * worker_sums,
      });
    });
  }
  return true;
}

}  // namespace stagegate::cpu

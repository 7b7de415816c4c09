#include <algorithm>

#include "device/cuda/launch.h"
#include "ops/argmax/argmax.h"
#include "ops/argmax/best.cuh"

namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;
// What a block reads at least: less would not pay for its start.
constexpr std::int64_t kSmallestPart = 2048;
constexpr std::int64_t kBlocksPerMultiprocessor = 4;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    best_of_part(const T* x, std::int64_t width, int parts, std::int64_t part_width, Word* partial,
                 std::int32_t* out) {
  constexpr int kPack = 16 / sizeof(T);
  const std::int64_t row_index = blockIdx.x / parts;
  const std::int64_t part = blockIdx.x % parts;
  const T* row = x + row_index * width;
  const std::int64_t begin = part * part_width;
  const std::int64_t end = min(begin + part_width, width);
  Word best = 0;
  // Parts begin at multiples of a pack, so a whole row is aligned or none of its parts is.
  std::int64_t packed_end = begin;
  if (reinterpret_cast<std::uintptr_t>(row) % 16 == 0) {
    packed_end = end > begin ? begin + (end - begin) / kPack * kPack : begin;
#pragma unroll 2
    for (std::int64_t i = begin + threadIdx.x * kPack; i < packed_end; i += kThreads * kPack) {
      const auto pack = *reinterpret_cast<const Pack<T>*>(row + i);
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        best = max(best, packed(to_float(pack.values[j]), static_cast<std::uint32_t>(i + j)));
      }
    }
  }
#pragma unroll 4
  for (std::int64_t i = packed_end + threadIdx.x; i < end; i += kThreads) {
    best = max(best, packed(to_float(row[i]), static_cast<std::uint32_t>(i)));
  }
  best = block_reduce<Maximum>(best);
  if (threadIdx.x != 0) return;
  if (parts == 1) {
    out[row_index] = static_cast<std::int32_t>(packed_index(best));
  } else {
    partial[blockIdx.x] = best;
  }
}

__global__ void __launch_bounds__(kThreads)
    best_of_parts(const Word* partial, int parts, std::int32_t* out) {
  Word best = 0;
  for (int part = threadIdx.x; part < parts; part += kThreads) {
    best = max(best, partial[static_cast<std::int64_t>(blockIdx.x) * parts + part]);
  }
  best = block_reduce<Maximum>(best);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<std::int32_t>(packed_index(best));
}

}  // namespace

void argmax(const Context& context, const Tensor& x, const Tensor& out) {
  const std::int64_t rows = x.dim(0);
  const std::int64_t width = x.dim(1);
  if (rows == 0) return;
  const std::int64_t filling =
      ceil_div(kBlocksPerMultiprocessor * context.stream->num_multiprocessors(), rows);
  const std::int64_t wanted = std::min<std::int64_t>(ceil_div(width, kSmallestPart), filling);
  // A multiple of every pack.
  const std::int64_t part_width = ceil_div(ceil_div(width, wanted), 16) * std::int64_t{16};
  const int parts = static_cast<int>(ceil_div(width, part_width));
  auto* partial = static_cast<Word*>(
      context.stream->scratch(static_cast<std::size_t>(rows * parts) * sizeof(Word)));
  dispatch_device("argmax", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch(best_of_part<T>, dim3(static_cast<unsigned>(rows * parts)), dim3(kThreads), 0, context,
           input<T>(x), width, parts, part_width, partial, output<std::int32_t>(out));
  });
  if (parts > 1) {
    launch(best_of_parts, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, context,
           static_cast<const Word*>(partial), parts, output<std::int32_t>(out));
  }
}

}  // namespace stagegate::cuda

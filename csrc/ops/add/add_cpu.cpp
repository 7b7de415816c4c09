#include <algorithm>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out) {
  // Large enough that starting a thread pays.
  constexpr std::int64_t kChunk = 4096;
  dispatch_floating("add", a.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t count = a.numel();
    parallel_for((count + kChunk - 1) / kChunk, context.num_threads, [&](std::int64_t chunk) {
      const T* left = a.data<T>();
      const T* right = b.data<T>();
      T* result = out.data<T>();
      const std::int64_t stop = std::min(count, (chunk + 1) * kChunk);
#pragma omp simd
      for (std::int64_t i = chunk * kChunk; i < stop; ++i) {
        store_from_float(result[i], load_as_float(left[i]) + load_as_float(right[i]));
      }
    });
  });
}

}  // namespace stagegate::cpu

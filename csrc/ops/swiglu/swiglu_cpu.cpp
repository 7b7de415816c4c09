#include <cmath>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void swiglu(const Context& context, const Tensor& gate_up, const Tensor& out) {
  dispatch_floating("swiglu", out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t width = out.dim(1);
    parallel_for(out.dim(0), context.num_threads, [&](std::int64_t t) {
      const T* gate = gate_up.data<T>() + 2 * t * width;
      const T* up = gate + width;
      T* result = out.data<T>() + t * width;
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) {
        const float g = load_as_float(gate[i]);
        store_from_float(result[i], g / (1.0f + std::exp(-g)) * load_as_float(up[i]));
      }
    });
  });
}

}  // namespace stagegate::cpu

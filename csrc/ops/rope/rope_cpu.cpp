#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/parallel.h"
#include "ops/rope/rope_faults.h"

namespace stagegate::cpu {

void rope(const Context& context, const Tensor& x, const Tensor& positions, const Tensor& cos,
          const Tensor& sin) {
  dispatch_floating("rope", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int32_t* position = positions.data<std::int32_t>();
    const std::int64_t heads = x.dim(1);
    const std::int64_t head_dim = x.dim(2);
    const std::int64_t half = head_dim / 2;
    parallel_for(x.dim(0), context.num_threads, [&](std::int64_t t) {
      SG_CHECK(ArgumentError, position[t] >= 0 && position[t] < cos.dim(0),
               describe(make_fault(RopeFault::kPosition, position[t], t, cos.dim(0))));
      const float* c = cos.data<float>() + position[t] * half;
      const float* s = sin.data<float>() + position[t] * half;
      for (std::int64_t h = 0; h < heads; ++h) {
        T* first = x.data<T>() + t * x.stride(0) + h * head_dim;
        T* second = first + half;
#pragma omp simd
        for (std::int64_t i = 0; i < half; ++i) {
          const float a = load_as_float(first[i]);
          const float b = load_as_float(second[i]);
          store_from_float(first[i], a * c[i] - b * s[i]);
          store_from_float(second[i], b * c[i] + a * s[i]);
        }
      }
    });
  });
}

}  // namespace stagegate::cpu

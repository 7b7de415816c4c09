#include <cmath>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out) {
  dispatch_floating("rms_norm", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t heads = x.rank() == 3 ? x.dim(1) : 1;
    const std::int64_t width = weight.dim(0);
    const T* scale = weight.data<T>();
    parallel_for(x.dim(0) * heads, context.num_threads, [&](std::int64_t index) {
      const std::int64_t t = index / heads;
      const std::int64_t within = index % heads * width;
      const T* row = x.data<T>() + t * x.stride(0) + within;
      T* result = out.data<T>() + t * out.stride(0) + within;
      float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < width; ++i) {
        const float value = load_as_float(row[i]);
        sum += value * value;
      }
      const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) {
        store_from_float(result[i], load_as_float(row[i]) * inverse * load_as_float(scale[i]));
      }
    });
  });
}

}  // namespace stagegate::cpu

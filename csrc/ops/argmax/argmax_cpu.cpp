#include <algorithm>
#include <cmath>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "device/context.h"
#include "ops/parallel.h"

namespace stagegate::cpu {

void argmax(const Context& context, const Tensor& x, const Tensor& out) {
  dispatch_floating("argmax", x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t width = x.dim(1);
    parallel_for(x.dim(0), context.num_threads, [&](std::int64_t r) {
      const T* row = x.data<T>() + r * width;
      std::int64_t best = -1;
      float largest = 0.0f;
      for (std::int64_t i = 0; i < width; ++i) {
        const float value = load_as_float(row[i]);
        // The first comparison alone would let -inf lose to "nothing seen yet".
        if (value > largest || (best < 0 && !std::isnan(value))) {
          best = i;
          largest = value;
        }
      }
      out.data<std::int32_t>()[r] = static_cast<std::int32_t>(std::max<std::int64_t>(best, 0));
    });
  });
}

}  // namespace stagegate::cpu

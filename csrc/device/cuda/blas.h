#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "core/dtype.h"

namespace stagegate::cuda {

class Stream;

// Matrix products by cuBLASLt. The algorithm for a problem is found by timing what the library
// proposes, the first time the problem comes, and kept.
class Blas {
 public:
  // out[M, N] = x[M, K] · weight[N, K]ᵀ + bias[N], all row-major, accumulated in f32.
  struct Problem {
    std::int64_t rows;      // M
    std::int64_t width;     // N
    std::int64_t depth;     // K
    std::int64_t x_stride;  // elements from one row of x to the next
    DType dtype;            // of x, weight and bias
    DType out_dtype;        // dtype, or f32
    bool has_bias;
    // One algorithm for every M, so that a row of the result does not depend on the others.
    bool deterministic;

    auto operator<=>(const Problem&) const = default;
  };

  explicit Blas(int device_index);
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // Queues one product. While a graph is captured nothing can be timed: a problem that is new then
  // gets the library's first proposal. Throws DeviceError when the library fails or has no
  // algorithm for the problem.
  void matmul(Stream& stream, const Problem& problem, const void* x, const void* weight,
              const void* bias, void* out);

 private:
  struct Plan;

  Plan& plan_for(Stream& stream, const Problem& problem, const void* x, const void* weight,
                 const void* bias, void* out);

  int device_index_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Problem, std::unique_ptr<Plan>> plans_;
};

}  // namespace stagegate::cuda

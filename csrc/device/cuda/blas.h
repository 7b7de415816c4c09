#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "core/dtype.h"
#include "device/cuda/buffer.h"
#include "device/cuda/owned.h"

namespace stagegate::cuda {

class Stream;

// Matrix products by cuBLASLt. The algorithm for a problem is the fastest that the library
// proposes, timed the first time the problem comes to a device (device/cuda/autotune.h) and kept,
// also for processes to come (device/cuda/timings.h).
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
    bool has_bias;          // that begins at a multiple of 16 bytes
    // One algorithm for every M, so that a row of the result does not depend on the others.
    bool deterministic;
    std::uint32_t alignment;  // bytes that every operand and step from row to row is a multiple of

    auto operator<=>(const Problem&) const = default;
  };

  explicit Blas(int device_index);
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // Queues one product; false when the library has no algorithm for it. Throws DeviceError when the
  // library fails. While a graph is captured nothing can be timed: an algorithm that is looked for
  // then is the library's first proposal, and this object alone keeps it.
  bool matmul(Stream& stream, const Problem& problem, const void* x, const void* weight,
              const void* bias, void* out);

 private:
  struct Operands {
    const void* x;
    const void* weight;
    const void* bias;
    void* out;
  };
  class Plan;

  Plan& plan_for(Stream& stream, const Problem& problem, const Operands& operands);
  std::optional<cublasLtMatmulAlgo_t> algorithm_for(Stream& stream, const Problem& problem,
                                                    Plan& plan, const Operands& operands);

  int device_index_;
  Owned<cublasLtHandle_t, cublasLtDestroy> handle_;
  DeviceBuffer workspace_;
  std::map<Problem, std::unique_ptr<Plan>> plans_;
};

}  // namespace stagegate::cuda

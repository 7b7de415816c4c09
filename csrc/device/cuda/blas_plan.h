#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <vector>

#include "device/cuda/blas.h"
#include "device/cuda/owned.h"

namespace stagegate::cuda {

// What NVIDIA advises for Hopper (cuBLAS documentation, "cublasSetWorkspace").
inline constexpr std::size_t kBlasWorkspaceBytes = std::size_t{32} << 20;

// The descriptors of one problem for cuBLASLt, and what the library has for it. Throws DeviceError
// when the library fails.
class Blas::Plan {
 public:
  using Algorithm = cublasLtMatmulAlgo_t;

  explicit Plan(const Problem& problem);

  // The one that serves the problem, once it is chosen.
  std::optional<Algorithm> algorithm;

  cublasStatus_t run(cublasLtHandle_t handle, const Algorithm& algo, cudaStream_t stream,
                     void* workspace, const Operands& operands);

  bool takes(cublasLtHandle_t handle, const Algorithm& algo, const Operands& operands);

  // What the library proposes, the most promising first; may be empty.
  std::vector<Algorithm> proposals(cublasLtHandle_t handle, const Operands& operands);

  // All that is worth timing: its proposals; where the rows are many what it proposes for other
  // numbers of rows, because for a number that is no multiple of a tile its own are up to a tenth
  // slower than the best of those (H200); and proposals that split the depth otherwise.
  std::vector<Algorithm> candidates(cublasLtHandle_t handle, const Operands& operands);

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value);
  // The address stands in the descriptor, not in the call.
  void point_to_bias(const Operands& operands);

  using Descriptor = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
  using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;

  Problem problem_;
  Descriptor desc_;
  Layout weight_;
  Layout x_;
  Layout out_;
};

}  // namespace stagegate::cuda

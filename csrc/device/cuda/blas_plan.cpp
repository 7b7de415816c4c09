#include "device/cuda/blas_plan.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "device/cuda/blas_check.h"

namespace stagegate::cuda {

namespace {

using Algorithm = cublasLtMatmulAlgo_t;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// The most proposals to request. cuBLASLt 13.1 returns 8 for a problem on Hopper.
constexpr int kProposals = 64;
// From more rows on, the proposals for these numbers of rows are candidates too.
constexpr std::int64_t kFewRows = 128;
constexpr std::int64_t kOtherRows[] = {192, 256, 512, 1024, 2048, 3072, 4096, 8192};
// With more rows the blocks of a product fill a device without splitting its depth.
constexpr std::int64_t kMostSplitRows = 512;
constexpr std::int32_t kSplits[] = {2, 3, 4, 6, 8};

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

template <typename Layout>
void describe(Layout& layout, DType dtype, std::int64_t rows, std::int64_t columns,
              std::int64_t stride) {
  SG_BLAS(cublasLtMatrixLayoutCreate(layout.out(), data_type(dtype),
                                     static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), stride));
}

// Parts of a split depth are summed in f32: the other schemes round each to the result's dtype. A
// split depth is summed in another order for another number of rows.
std::uint32_t reduction(bool deterministic) {
  return deterministic ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
}

// The same algorithm with the depth in parts; nothing where it has none.
std::optional<Algorithm> with_split(Algorithm algo, std::int32_t parts) {
  const std::uint32_t scheme = reduction(false);
  const auto configure = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, const auto& value) {
    return cublasLtMatmulAlgoConfigSetAttribute(&algo, attribute, &value, sizeof(value)) ==
           CUBLAS_STATUS_SUCCESS;
  };
  if (!configure(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, parts)) return std::nullopt;
  if (!configure(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, scheme)) return std::nullopt;
  return algo;
}

}  // namespace

// cuBLAS counts in columns: outᵀ[N, M] = (weightᵀ)ᵀ · xᵀ, whose operands are our rows as they lie.
Blas::Plan::Plan(const Problem& p) : problem_(p) {
  SG_BLAS(cublasLtMatmulDescCreate(desc_.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (p.has_bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.dtype));
  }
  describe(weight_, p.dtype, p.depth, p.width, p.depth);
  describe(x_, p.dtype, p.depth, p.rows, p.x_stride);
  describe(out_, p.out_dtype, p.width, p.rows, p.width);
}

cublasStatus_t Blas::Plan::run(cublasLtHandle_t handle, const Algorithm& algo, cudaStream_t stream,
                               void* workspace, const Operands& operands) {
  point_to_bias(operands);
  const float one = 1.0f;
  const float zero = 0.0f;
  return cublasLtMatmul(handle, desc_, &one, operands.weight, weight_, operands.x, x_, &zero,
                        operands.out, out_, operands.out, out_, &algo, workspace,
                        kBlasWorkspaceBytes, stream);
}

bool Blas::Plan::takes(cublasLtHandle_t handle, const Algorithm& algo, const Operands& operands) {
  point_to_bias(operands);
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(handle, desc_, weight_, x_, out_, out_, &algo, &result) ==
             CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= kBlasWorkspaceBytes;
}

std::vector<Algorithm> Blas::Plan::proposals(cublasLtHandle_t handle, const Operands& operands) {
  point_to_bias(operands);
  Preference preference;
  SG_BLAS(cublasLtMatmulPreferenceCreate(preference.out()));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    SG_BLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kBlasWorkspaceBytes);
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(attribute, problem_.alignment);
  }
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction(problem_.deterministic));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kProposals);
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, desc_, weight_, x_, out_, out_, preference, kProposals, found.data(), &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<Algorithm> algorithms;
  for (int i = 0; i < count; ++i) {
    if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[i].algo);
  }
  return algorithms;
}

std::vector<Algorithm> Blas::Plan::candidates(cublasLtHandle_t handle, const Operands& operands) {
  std::vector<Algorithm> found = proposals(handle, operands);
  if (problem_.rows <= kFewRows) return found;
  const auto add = [&](const Algorithm& algo) {
    const bool known = std::any_of(found.begin(), found.end(), [&](const Algorithm& other) {
      return std::memcmp(&algo, &other, sizeof(algo)) == 0;
    });
    if (!known && takes(handle, algo, operands)) found.push_back(algo);
  };
  const std::vector<Algorithm> own = found;
  for (const std::int64_t rows : kOtherRows) {
    Problem other = problem_;
    other.rows = rows;
    for (const Algorithm& algo : Plan(other).proposals(handle, operands)) add(algo);
  }
  if (problem_.rows > kMostSplitRows) return found;
  for (const Algorithm& algo : own) {
    for (const std::int32_t parts : kSplits) {
      if (const std::optional<Algorithm> split = with_split(algo, parts)) add(*split);
    }
  }
  return found;
}

template <typename Value>
void Blas::Plan::set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  SG_BLAS(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)));
}

void Blas::Plan::point_to_bias(const Operands& operands) {
  if (problem_.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
}

}  // namespace stagegate::cuda

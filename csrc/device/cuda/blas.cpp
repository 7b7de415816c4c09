#include "device/cuda/blas.h"

#include <utility>
#include <vector>

#include "device/cuda/autotune.h"
#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"

namespace stagegate::cuda {

namespace {

// What NVIDIA advises for Hopper (cuBLAS documentation, "cublasSetWorkspace").
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
// How many proposals are timed.
constexpr int kProposals = 32;
// The number of rows a deterministic algorithm is chosen for: enough that large batches stay fast.
constexpr std::int64_t kDeterministicRows = 256;

void check(cublasStatus_t status, const char* call) {
  SG_CHECK(DeviceError, status == CUBLAS_STATUS_SUCCESS, call, ": ", cublasLtGetStatusName(status));
}
#define SG_BLAS(call) check((call), #call)

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

using MatmulDesc = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// Where the rows of a problem are many, those near it take its algorithm: a prompt may have any
// length, and timing takes some milliseconds.
std::int64_t rounded_rows(std::int64_t rows) {
  if (rows <= 16) return rows;
  const std::int64_t step = rows <= 256 ? 16 : rows <= 2048 ? 128 : 1024;
  return (rows + step - 1) / step * step;
}

}  // namespace

// The descriptors of one problem and the algorithm that serves it.
class Blas::Plan {
 public:
  // cuBLAS counts in columns: outᵀ[N, M] = (weightᵀ)ᵀ · xᵀ, whose operands are our rows as they
  // lie.
  explicit Plan(const Problem& p) : problem_(p) {
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

  std::optional<cublasLtMatmulAlgo_t> algorithm;

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algo, cudaStream_t stream,
                     void* workspace, const Operands& operands) {
    point_to_bias(operands);
    const float one = 1.0f;
    const float zero = 0.0f;
    return cublasLtMatmul(handle, desc_, &one, operands.weight, weight_, operands.x, x_, &zero,
                          operands.out, out_, operands.out, out_, &algo, workspace, kWorkspaceBytes,
                          stream);
  }

  bool takes(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algo, const Operands& operands) {
    point_to_bias(operands);
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle, desc_, weight_, x_, out_, out_, &algo, &result) ==
               CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kWorkspaceBytes;
  }

  // What the library proposes, the most promising first; may be empty.
  std::vector<cublasLtMatmulAlgo_t> proposals(cublasLtHandle_t handle, const Operands& operands) {
    point_to_bias(operands);
    Preference preference;
    SG_BLAS(cublasLtMatmulPreferenceCreate(preference.out()));
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      SG_BLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, problem_.alignment);
    }
    // Parts of a split depth are summed in f32: the other schemes round each to the result's dtype.
    // A split depth is summed in another order for another number of rows.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{problem_.deterministic ? CUBLASLT_REDUCTION_SCHEME_NONE
                                                : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    std::vector<cublasLtMatmulHeuristicResult_t> found(kProposals);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, desc_, weight_, x_, out_, out_, preference, kProposals, found.data(), &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    for (int i = 0; i < count; ++i) {
      if (found[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[i].algo);
    }
    return algorithms;
  }

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    SG_BLAS(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)));
  }

  // The address stands in the descriptor, not in the call.
  void point_to_bias(const Operands& operands) {
    if (problem_.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
  }

  static void describe(Layout& layout, DType dtype, std::int64_t rows, std::int64_t columns,
                       std::int64_t stride) {
    SG_BLAS(cublasLtMatrixLayoutCreate(layout.out(), data_type(dtype),
                                       static_cast<std::uint64_t>(rows),
                                       static_cast<std::uint64_t>(columns), stride));
  }

  Problem problem_;
  MatmulDesc desc_;
  Layout weight_;
  Layout x_;
  Layout out_;
};

Blas::Blas(int device_index) : device_index_(device_index) {
  const CurrentDevice current(device_index);
  SG_BLAS(cublasLtCreate(handle_.out()));
  workspace_ = DeviceBuffer(kWorkspaceBytes, device_index);
}

Blas::~Blas() = default;

bool Blas::matmul(Stream& stream, const Problem& problem, const void* x, const void* weight,
                  const void* bias, void* out) {
  const CurrentDevice current(device_index_);
  const Operands operands{x, weight, bias, out};
  Plan& plan = plan_for(stream, problem, operands);
  if (!plan.algorithm) return false;
  SG_BLAS(plan.run(handle_, *plan.algorithm, stream.handle(), workspace_.data(), operands));
  return true;
}

Blas::Plan& Blas::plan_for(Stream& stream, const Problem& problem, const Operands& operands) {
  const auto known = plans_.find(problem);
  if (known != plans_.end()) return *known->second;
  auto plan = std::make_unique<Plan>(problem);
  plan->algorithm = algorithm_for(stream, problem, *plan, operands);
  return *plans_.emplace(problem, std::move(plan)).first->second;
}

std::optional<cublasLtMatmulAlgo_t> Blas::algorithm_for(Stream& stream, const Problem& problem,
                                                        Plan& plan, const Operands& operands) {
  Problem rounded = problem;
  // One algorithm for every number of rows: each block of it sums the whole depth of its rows, in
  // an order that the number of blocks does not change.
  rounded.rows = problem.deterministic ? kDeterministicRows : rounded_rows(problem.rows);
  // What every stream of a device found.
  static TimingCache<std::pair<int, Problem>, cublasLtMatmulAlgo_t> found;
  const std::pair key(device_index_, rounded);
  Contest<cublasLtMatmulAlgo_t> contest{
      .candidates = [&] { return plan.proposals(handle_, operands); },
      .takes = [&](const auto& algo) { return plan.takes(handle_, algo, operands); },
      .time = nullptr,
  };
  if (!problem.deterministic) {
    contest.time = timed_on<cublasLtMatmulAlgo_t>(stream, [&](const auto& algo) {
      return plan.run(handle_, algo, stream.handle(), workspace_.data(), operands) ==
             CUBLAS_STATUS_SUCCESS;
    });
    return found.fastest(key, contest);
  }
  contest.candidates = [&] {
    Problem many = rounded;
    many.x_stride = problem.rows == kDeterministicRows ? problem.x_stride : problem.depth;
    return Plan(many).proposals(handle_, operands);
  };
  const std::optional<cublasLtMatmulAlgo_t> chosen = found.first(key, contest);
  SG_CHECK(DeviceError, !chosen || contest.takes(*chosen),
           "linear: cuBLASLt has no one algorithm for ", problem.rows, " and ", kDeterministicRows,
           " rows of ", problem.depth, " times ", problem.width, "; use deterministic=False");
  return chosen;
}

}  // namespace stagegate::cuda

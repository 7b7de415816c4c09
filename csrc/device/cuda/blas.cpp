#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "device/cuda/blas.h"
#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/runtime.h"
#include "device/cuda/stream.h"

namespace stagegate::cuda {

namespace {

// What NVIDIA advises for Hopper (cuBLAS documentation, "cublasSetWorkspace").
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
// How many proposals are timed, and how often each.
constexpr int kProposals = 32;
constexpr int kTimings = 5;
// The number of rows a deterministic plan is chosen for: enough that large batches stay fast.
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

// A cuBLASLt descriptor and its release.
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  ~Owned() {
    if (handle_ != nullptr) static_cast<void>(destroy(handle_));
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  Handle* out() { return &handle_; }
  operator Handle() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using MatmulDesc = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

}  // namespace

struct Blas::Plan {
  MatmulDesc desc;
  Layout weight;
  Layout x;
  Layout out;
  cublasLtMatmulAlgo_t algo{};

  // cuBLAS counts in columns: outᵀ[N, M] = weightᵀᵀ · xᵀ, whose operands are our rows as they lie.
  explicit Plan(const Problem& p) {
    SG_BLAS(cublasLtMatmulDescCreate(desc.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (p.has_bias) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.dtype));
    }
    const auto layout = [](Layout& made, DType dtype, std::int64_t rows, std::int64_t columns,
                           std::int64_t stride) {
      SG_BLAS(cublasLtMatrixLayoutCreate(made.out(), data_type(dtype),
                                         static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(columns), stride));
    };
    layout(weight, p.dtype, p.depth, p.width, p.depth);
    layout(x, p.dtype, p.depth, p.rows, p.x_stride);
    layout(out, p.out_dtype, p.width, p.rows, p.width);
  }

  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    SG_BLAS(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(value)));
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& chosen,
                     cudaStream_t stream, void* workspace, const void* x_data,
                     const void* weight_data, const void* bias, void* out_data) {
    if (bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const float one = 1.0f;
    const float zero = 0.0f;
    return cublasLtMatmul(handle, desc, &one, weight_data, weight, x_data, x, &zero, out_data, out,
                          out_data, out, &chosen, workspace, kWorkspaceBytes, stream);
  }
};

Blas::Blas(int device_index) : device_index_(device_index) {
  const CurrentDevice current(device_index);
  SG_BLAS(cublasLtCreate(&handle_));
  workspace_ = allocate(kWorkspaceBytes, device_index);
}

Blas::~Blas() {
  plans_.clear();
  release(workspace_, device_index_);
  static_cast<void>(cublasLtDestroy(handle_));
}

namespace {

std::vector<cublasLtMatmulHeuristicResult_t> proposals(
    cublasLtHandle_t handle, const Blas::Problem& problem, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t weight, cublasLtMatrixLayout_t x, cublasLtMatrixLayout_t out) {
  Preference preference;
  SG_BLAS(cublasLtMatmulPreferenceCreate(preference.out()));
  SG_BLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &kWorkspaceBytes, sizeof(kWorkspaceBytes)));
  // Rows begin wherever a view does, so only the alignment that every one has may be assumed.
  const auto element = static_cast<std::uint32_t>(size_of(problem.dtype));
  const auto row = static_cast<std::uint64_t>(problem.x_stride) * element;
  std::uint32_t alignment = 16;
  while (row % alignment != 0 ||
         static_cast<std::uint64_t>(problem.depth) * element % alignment != 0) {
    alignment /= 2;
  }
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES}) {
    SG_BLAS(
        cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(alignment)));
  }
  if (problem.deterministic) {
    const std::uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    SG_BLAS(cublasLtMatmulPreferenceSetAttribute(preference,
                                                 CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                 &no_reduction, sizeof(no_reduction)));
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(kProposals);
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, desc, weight, x, out, out, preference, kProposals, found.data(), &count);
  SG_CHECK(DeviceError, status == CUBLAS_STATUS_SUCCESS && count > 0,
           "linear: cuBLASLt has no algorithm for [", problem.rows, ", ", problem.depth,
           "] times [", problem.width, ", ", problem.depth, "] in ", name_of(problem.dtype), ": ",
           cublasLtGetStatusName(status));
  found.resize(static_cast<std::size_t>(count));
  return found;
}

// Microseconds of the fastest of some runs.
template <typename Run>
float fastest_us(cudaStream_t stream, Run&& run) {
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  SG_CUDA(cudaEventCreate(&start));
  SG_CUDA(cudaEventCreate(&stop));
  float best = std::numeric_limits<float>::infinity();
  for (int i = 0; i < kTimings; ++i) {
    SG_CUDA(cudaEventRecord(start, stream));
    if (run() != CUBLAS_STATUS_SUCCESS) break;
    SG_CUDA(cudaEventRecord(stop, stream));
    SG_CUDA(cudaEventSynchronize(stop));
    float milliseconds = 0.0f;
    SG_CUDA(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i > 0) best = std::min(best, 1e3f * milliseconds);  // the first loads the kernel
  }
  SG_CUDA(cudaEventDestroy(start));
  SG_CUDA(cudaEventDestroy(stop));
  return best;
}

}  // namespace

Blas::Plan& Blas::plan_for(Stream& stream, const Problem& problem, const void* x,
                           const void* weight, const void* bias, void* out) {
  const auto known = plans_.find(problem);
  if (known != plans_.end()) return *known->second;

  auto plan = std::make_unique<Plan>(problem);
  if (bias != nullptr) plan->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  if (problem.deterministic && problem.rows != kDeterministicRows) {
    // The algorithm of another number of rows; one that reduces over the whole depth in a block
    // does the same additions for a row whatever the others are.
    Problem chosen_for = problem;
    chosen_for.rows = kDeterministicRows;
    chosen_for.x_stride = problem.depth;
    Plan at(chosen_for);
    if (bias != nullptr) at.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    plan->algo = proposals(handle_, chosen_for, at.desc, at.weight, at.x, at.out).front().algo;
    return *plans_.emplace(problem, std::move(plan)).first->second;
  }
  const auto found = proposals(handle_, problem, plan->desc, plan->weight, plan->x, plan->out);
  plan->algo = found.front().algo;
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  SG_CUDA(cudaStreamIsCapturing(stream.handle(), &capturing));
  if (capturing == cudaStreamCaptureStatusNone && !problem.deterministic) {
    float best = std::numeric_limits<float>::infinity();
    for (const cublasLtMatmulHeuristicResult_t& proposal : found) {
      const float us = fastest_us(stream.handle(), [&] {
        return plan->run(handle_, proposal.algo, stream.handle(), workspace_, x, weight, bias, out);
      });
      if (us < best) {
        best = us;
        plan->algo = proposal.algo;
      }
    }
  }
  return *plans_.emplace(problem, std::move(plan)).first->second;
}

void Blas::matmul(Stream& stream, const Problem& problem, const void* x, const void* weight,
                  const void* bias, void* out) {
  Plan& plan = plan_for(stream, problem, x, weight, bias, out);
  SG_BLAS(plan.run(handle_, plan.algo, stream.handle(), workspace_, x, weight, bias, out));
}

}  // namespace stagegate::cuda

#include "device/cuda/blas.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "device/cuda/check.h"
#include "device/cuda/current_device.h"
#include "device/cuda/runtime.h"
#include "device/cuda/stream.h"
#include "device/memory.h"

namespace stagegate::cuda {

namespace {

// What NVIDIA advises for Hopper (cuBLAS documentation, "cublasSetWorkspace").
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
// How many proposals are timed, and how often each.
constexpr int kProposals = 32;
constexpr int kTimings = 5;
// A proposal that takes so many times the best one's time is not timed again: the batch waits.
constexpr float kHopeless = 1.5f;
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

// Where the rows of a problem are many, those near it take its algorithm: a prompt may have any
// length, and timing takes some milliseconds.
std::int64_t rounded_rows(std::int64_t rows) {
  if (rows <= 16) return rows;
  const std::int64_t step = rows <= 256 ? 16 : rows <= 2048 ? 128 : 1024;
  return (rows + step - 1) / step * step;
}

// Memory to write over, so that the caches hold nothing else; null where none is to be had: a step
// need not fail for that.
std::shared_ptr<Storage> spare_memory(std::size_t size_bytes, int device_index) {
  try {
    return stagegate::allocate(size_bytes, Device{DeviceType::kCUDA, device_index});
  } catch (const OutOfMemoryError&) {
    return nullptr;
  }
}

class Event {
 public:
  Event() { SG_CUDA(cudaEventCreate(&handle_)); }
  ~Event() { static_cast<void>(cudaEventDestroy(handle_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return handle_; }

 private:
  cudaEvent_t handle_ = nullptr;
};

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
  int l2_bytes = 0;
  SG_CUDA(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device_index));
  l2_bytes_ = static_cast<std::size_t>(l2_bytes);
  SG_BLAS(cublasLtCreate(&handle_));
  workspace_ = allocate(kWorkspaceBytes, device_index);
}

Blas::~Blas() {
  plans_.clear();
  release(workspace_, device_index_);
  static_cast<void>(cublasLtDestroy(handle_));
}

bool Blas::matmul(Stream& stream, const Problem& problem, const void* x, const void* weight,
                  const void* bias, void* out) {
  const CurrentDevice current(device_index_);
  const Operands operands{x, weight, bias, out};
  Plan& plan = plan_for(stream, problem, operands);
  if (!plan.algorithm) return false;
  SG_BLAS(plan.run(handle_, *plan.algorithm, stream.handle(), workspace_, operands));
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
  // What every stream of a device found. Held while candidates are timed, so that no other stream
  // times its own beside them.
  static std::mutex mutex;
  static std::map<std::pair<int, Problem>, std::optional<cublasLtMatmulAlgo_t>> found;
  const std::lock_guard lock(mutex);
  const auto known = found.find({device_index_, rounded});
  if (known != found.end()) {
    if (!known->second || plan.takes(handle_, *known->second, operands)) return known->second;
    SG_CHECK(DeviceError, !problem.deterministic, "linear: cuBLASLt has no one algorithm for ",
             problem.rows, " and ", kDeterministicRows, " rows of ", problem.depth, " times ",
             problem.width, "; use deterministic=False");
  }
  std::optional<cublasLtMatmulAlgo_t> chosen;
  if (problem.deterministic) {
    Problem many = rounded;
    many.x_stride = problem.rows == kDeterministicRows ? problem.x_stride : problem.depth;
    for (const cublasLtMatmulAlgo_t& algo : Plan(many).proposals(handle_, operands)) {
      if (plan.takes(handle_, algo, operands)) {
        chosen = algo;
        break;
      }
    }
  } else {
    const std::vector<cublasLtMatmulAlgo_t> proposals = plan.proposals(handle_, operands);
    if (!proposals.empty() && stream.is_capturing()) return proposals.front();
    chosen = fastest(stream, plan, operands, proposals);
  }
  found.insert_or_assign({device_index_, rounded}, chosen);
  return chosen;
}

std::optional<cublasLtMatmulAlgo_t> Blas::fastest(
    Stream& stream, Plan& plan, const Operands& operands,
    const std::vector<cublasLtMatmulAlgo_t>& proposals) {
  if (proposals.empty()) return std::nullopt;
  // In a model other layers run between two uses of a weight: it comes from memory, not from a
  // cache that the run before has filled.
  const std::shared_ptr<Storage> other = spare_memory(2 * l2_bytes_, device_index_);
  const Event start;
  const Event stop;
  std::optional<cublasLtMatmulAlgo_t> best;
  float best_ms = std::numeric_limits<float>::infinity();
  for (const cublasLtMatmulAlgo_t& algo : proposals) {
    for (int i = 0; i < kTimings; ++i) {
      if (other) SG_CUDA(cudaMemsetAsync(other->data(), i, other->size_bytes(), stream.handle()));
      SG_CUDA(cudaEventRecord(start, stream.handle()));
      const cublasStatus_t status = plan.run(handle_, algo, stream.handle(), workspace_, operands);
      if (status != CUBLAS_STATUS_SUCCESS) break;
      SG_CUDA(cudaEventRecord(stop, stream.handle()));
      SG_CUDA(cudaEventSynchronize(stop));
      float ms = 0.0f;
      SG_CUDA(cudaEventElapsedTime(&ms, start, stop));
      if (i == 0) continue;  // it loads the kernel
      if (ms < best_ms) {
        best_ms = ms;
        best = algo;
      }
      if (ms > kHopeless * best_ms) break;
    }
  }
  return best;
}

}  // namespace stagegate::cuda

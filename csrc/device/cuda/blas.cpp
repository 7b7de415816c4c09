#include "device/cuda/blas.h"

#include <string>
#include <utility>

#include "device/cuda/autotune.h"
#include "device/cuda/blas_check.h"
#include "device/cuda/blas_plan.h"
#include "device/cuda/current_device.h"
#include "device/cuda/stream.h"
#include "device/cuda/timings.h"

namespace stagegate::cuda {

namespace {

// The number of rows a deterministic algorithm is chosen for: enough that large batches stay fast.
constexpr std::int64_t kDeterministicRows = 256;

// Where the rows of a problem are many, those near it take its algorithm: a prompt may have any
// length, and timing takes up to a tenth of a second. Up to 8192 rows, about 50 numbers are timed.
std::int64_t rounded_rows(std::int64_t rows) {
  if (rows <= 16) return rows;
  const std::int64_t step = rows <= 256    ? 16
                            : rows <= 1024 ? 128
                            : rows <= 2048 ? 256
                            : rows <= 4096 ? 512
                                           : 1024;
  return (rows + step - 1) / step * step;
}

using Algorithm = cublasLtMatmulAlgo_t;
// What every stream of a device found, by device and problem.
using Found = TimingCache<std::pair<int, Blas::Problem>, Algorithm>;

std::string text_of(const Blas::Problem& p) {
  return message("matmul rows=", p.rows, " width=", p.width, " depth=", p.depth,
                 " stride=", p.x_stride, ' ', name_of(p.dtype), ' ', name_of(p.out_dtype),
                 p.has_bias ? " bias" : "", " aligned=", p.alignment);
}

Found& found_algorithms() {
  static Found found(kept_on_disk(TimingText<std::pair<int, Blas::Problem>, Algorithm>{
      .device_index = [](const auto& key) { return key.first; },
      .key = [](const auto& key) { return text_of(key.second); },
      .winner = [](const Algorithm& algo) { return hex_of(&algo, sizeof(algo)); },
      .candidate = [](const std::string& text) -> std::optional<Algorithm> {
        Algorithm algo;
        if (!from_hex(text, &algo, sizeof(algo))) return std::nullopt;
        return algo;
      },
  }));
  return found;
}

}  // namespace

Blas::Blas(int device_index) : device_index_(device_index) {
  const CurrentDevice current(device_index);
  SG_BLAS(cublasLtCreate(handle_.out()));
  workspace_ = DeviceBuffer(kBlasWorkspaceBytes, device_index);
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

std::optional<Algorithm> Blas::algorithm_for(Stream& stream, const Problem& problem, Plan& plan,
                                             const Operands& operands) {
  Problem rounded = problem;
  // One algorithm for every number of rows: each block of it sums the whole depth of its rows, in
  // an order that the number of blocks does not change.
  rounded.rows = problem.deterministic ? kDeterministicRows : rounded_rows(problem.rows);
  Found& found = found_algorithms();
  const std::pair key(device_index_, rounded);
  Contest<Algorithm> contest{
      .candidates = [&] { return plan.candidates(handle_, operands); },
      .takes = [&](const auto& algo) { return plan.takes(handle_, algo, operands); },
      .time = nullptr,
  };
  if (!problem.deterministic) {
    contest.time = timed_on<Algorithm>(stream, [&](const auto& algo) {
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
  const std::optional<Algorithm> chosen = found.first(key, contest);
  SG_CHECK(DeviceError, !chosen || contest.takes(*chosen),
           "linear: cuBLASLt has no one algorithm for ", problem.rows, " and ", kDeterministicRows,
           " rows of ", problem.depth, " times ", problem.width, "; use deterministic=False");
  return chosen;
}

}  // namespace stagegate::cuda

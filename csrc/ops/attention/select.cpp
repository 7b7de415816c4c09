#include "ops/attention/select.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/check.h"
#include "device/cuda/runtime.h"
#include "ops/attention/kernels/kernels.h"
#include "ops/checks.h"

namespace stagegate {

namespace {

using Problem = AttentionProblem;
using Call = AttentionCall;
using Limit = AttentionLimit;

constexpr Limit k16Bits = {
    [](const Problem& p) { return p.dtype == DType::kF16 || p.dtype == DType::kBF16; },
    [](const Problem&, const Call& call) {
      return message("f16 and bf16, q is ", call.q.describe());
    }};

constexpr Limit kHeadDim64Or128 = {
    [](const Problem& p) { return p.head_dim == 64 || p.head_dim == 128; },
    [](const Problem& p, const Call&) { return message("head_dim 64 and 128, got ", p.head_dim); }};

constexpr Limit kHeadDimUpTo256 = {[](const Problem& p) { return p.head_dim <= cuda::kMaxHeadDim; },
                                   [](const Problem& p, const Call&) {
                                     return message("head_dim ", p.head_dim, " is above ",
                                                    cuda::kMaxHeadDim);
                                   }};

// A negative scale would turn the maximum of the unscaled scores around.
constexpr Limit kPositiveScale = {
    [](const Problem& p) { return p.scale > 0.0f; },
    [](const Problem& p, const Call&) { return message("a scale above 0, got ", p.scale); }};

constexpr Limit kAlignedRows = {
    [](const Problem& p) { return p.rows_aligned; },
    [](const Problem&, const Call& call) {
      std::string text = "rows at multiples of 16 bytes";
      for (const auto& [name, tensor] :
           {std::pair("q", &call.q), std::pair("k_cache", &call.k), std::pair("v_cache", &call.v),
            std::pair("out", &call.out)}) {
        if (!rows_aligned(*tensor)) return message(text, ", ", name, " is ", tensor->describe());
      }
      return text;
    }};

constexpr Limit kEqualStrides = {[](const Problem& p) { return p.equal_strides; },
                                 [](const Problem&, const Call& call) {
                                   return message(
                                       "rows of k_cache and v_cache equally far apart, they are ",
                                       call.k.stride(0), " and ", call.v.stride(0), " elements");
                                 }};

// Its products are those of sm_90a, and no other code has them.
constexpr Limit kOnHopper = {[](const Problem& p) { return p.compute_capability == 90; },
                             [](const Problem& p, const Call&) {
                               return message("a GPU of compute capability 9.0, this one has ",
                                              p.compute_capability / 10, ".",
                                              p.compute_capability % 10);
                             }};

// The copy engine takes blocks whole, into tiles of kHopperKeys rows that are swizzled 8 by 8.
constexpr Limit kWholeBlocks = {
    [](const Problem& p) {
      constexpr std::int64_t kPattern = 8;
      const bool fits = p.block_size < cuda::kHopperKeys
                            ? p.block_size % kPattern == 0 && cuda::kHopperKeys % p.block_size == 0
                            : p.block_size % cuda::kHopperKeys == 0;
      return fits && p.num_slots >= p.block_size;
    },
    [](const Problem& p, const Call&) {
      return message("blocks of 8, 16, 32, 64 or a multiple of 128 slots, and one of them, got ",
                     p.block_size, " in a cache of ", p.num_slots);
    }};

constexpr Limit kGroupUpTo64 = {[](const Problem& p) { return p.group <= cuda::kMaxHopperGroup; },
                                [](const Problem& p, const Call&) {
                                  return message("at most ", cuda::kMaxHopperGroup,
                                                 " query heads of a key head, got ", p.group);
                                }};

// It counts in 32 bits: elements of q, of out and of a page, and slots of the tables.
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
constexpr Limit kCountsIn32Bits = {
    [](const Problem& p) {
      return p.query_elements <= kMost && p.block_elements <= kMost && p.table_slots <= kMost;
    },
    [](const Problem& p, const Call&) {
      return message("at most ", kMost, " elements of q (", p.query_elements, ") and of a block (",
                     p.block_elements, ") and slots of block_tables (", p.table_slots, ")");
    }};

using Run = decltype(AttentionKernel::run);

constexpr Run kGeneral = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_general;
  return nullptr;
}();
constexpr Run kDecode = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_decode;
  return nullptr;
}();
constexpr Run kPrefill = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_prefill;
  return nullptr;
}();
constexpr Run kPrefillHopper = []() -> Run {
  if constexpr (cuda::kEnabled) return &cuda::attention_prefill_hopper;
  return nullptr;
}();
constexpr Run kFlashInfer = []() -> Run {
  if constexpr (cuda::kFlashInferEnabled) return &cuda::attention_flashinfer;
  return nullptr;
}();

constexpr unsigned bit(KeyForm form) { return 1u << static_cast<unsigned>(form); }
constexpr unsigned kPaged = bit(KeyForm::kPaged);
constexpr unsigned kPagedOrCsr = kPaged | bit(KeyForm::kCsr);
constexpr unsigned kEveryForm = kPagedOrCsr | bit(KeyForm::kDense);

// In order of preference. On tensor cores a query is summed up in another order than alone.
constexpr AttentionKernel kKernels[] = {
    {.name = "simd",
     .device = DeviceType::kCPU,
     .backend = AttentionBackend::kNative,
     .forms = kEveryForm,
     .one_query_each = true,
     .deterministic = true,
     .limits = {},
     .run = &cpu::attention},
    {.name = "flashinfer",
     .device = DeviceType::kCUDA,
     .backend = AttentionBackend::kFlashInfer,
     .forms = kPaged,
     .one_query_each = true,
     .deterministic = false,
     .limits = {&k16Bits, &kHeadDim64Or128, &kPositiveScale, &kAlignedRows, &kEqualStrides,
                &kCountsIn32Bits},
     .run = kFlashInfer},
    {.name = "prefill_hopper",
     .device = DeviceType::kCUDA,
     .backend = AttentionBackend::kNative,
     .forms = kPaged,
     .one_query_each = false,
     .deterministic = false,
     .limits = {&k16Bits, &kHeadDim64Or128, &kPositiveScale, &kAlignedRows, &kOnHopper,
                &kWholeBlocks, &kGroupUpTo64},
     .run = kPrefillHopper},
    {.name = "prefill",
     .device = DeviceType::kCUDA,
     .backend = AttentionBackend::kNative,
     .forms = kPaged,
     .one_query_each = false,
     .deterministic = false,
     .limits = {&k16Bits, &kHeadDim64Or128, &kPositiveScale, &kAlignedRows},
     .run = kPrefill},
    {.name = "decode",
     .device = DeviceType::kCUDA,
     .backend = AttentionBackend::kNative,
     .forms = kPagedOrCsr,
     .one_query_each = true,
     .deterministic = false,
     .limits = {&k16Bits, &kHeadDim64Or128, &kPositiveScale, &kAlignedRows},
     .run = kDecode},
    {.name = "general",
     .device = DeviceType::kCUDA,
     .backend = AttentionBackend::kNative,
     .forms = kEveryForm,
     .one_query_each = true,
     .deterministic = true,
     .limits = {&kHeadDimUpTo256},
     .run = kGeneral},
};

// Whether a kernel is one for problems of this kind, whatever its limits.
bool serves(const AttentionKernel& kernel, const Problem& problem) {
  return kernel.device == problem.device && kernel.backend == problem.backend &&
         (kernel.forms & bit(problem.form)) != 0 &&
         (kernel.one_query_each || !problem.one_query_each) &&
         (kernel.deterministic || !problem.deterministic);
}

// The first limit that a problem breaks, or null.
const Limit* broken_limit(const AttentionKernel& kernel, const Problem& problem) {
  for (const Limit* limit : kernel.limits) {
    if (limit != nullptr && !limit->holds(problem)) return limit;
  }
  return nullptr;
}

// Says why no kernel takes a problem: by what the last one that serves its kind lacks.
[[noreturn]] void refuse(const char* op, const Context& context, const Problem& problem,
                         const Call& call) {
  const AttentionKernel* last = nullptr;
  for (const AttentionKernel& kernel : kKernels) {
    if (serves(kernel, problem)) last = &kernel;
  }
  const Limit* limit = last == nullptr ? nullptr : broken_limit(*last, problem);
  if (limit == nullptr) checks::no_kernel(op, context);
  const std::string what = limit->describe(problem, call);
  if (problem.backend == AttentionBackend::kFlashInfer) {
    throw ArgumentError(message(op, ": FlashInfer takes ", what, "; use attention=\"native\""));
  }
  throw ShapeError(message("attention on CUDA: ", what));
}

int compute_capability(const Context& context) {
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda()) return cuda::compute_capability(*context.stream);
  }
  return 0;
}

// What only one of the forms has.
void describe_form(const PagedForm& paged, const Call& call, Problem& problem) {
  problem.form = KeyForm::kPaged;
  problem.one_query_each = call.q.dim(0) == paged.context_lens.dim(0);
  problem.block_size = paged.block_size;
  problem.block_elements = call.k.stride(0) * paged.block_size;
  problem.table_slots = paged.block_tables.numel() * paged.block_size;
}
void describe_form(const CsrForm&, const Call&, Problem& problem) { problem.form = KeyForm::kCsr; }
void describe_form(const DenseForm&, const Call&, Problem& problem) {
  problem.form = KeyForm::kDense;
}

}  // namespace

AttentionProblem describe(const Context& context, const AttentionCall& call) {
  const auto& [q, k, v, out, scale, form] = call;
  AttentionProblem problem{
      .device = context.device.type,
      .compute_capability = compute_capability(context),
      .backend = AttentionBackend::kNative,
      .deterministic = context.deterministic,
      .form = KeyForm::kDense,
      .one_query_each = false,
      .dtype = q.dtype(),
      .head_dim = q.dim(2),
      .group = q.dim(1) / k.dim(1),
      .scale = scale,
      .rows_aligned = rows_aligned(q) && rows_aligned(k) && rows_aligned(v) && rows_aligned(out),
      .equal_strides = k.stride(0) == v.stride(0),
      .query_elements = q.dim(0) * std::max(q.stride(0), out.stride(0)),
      .num_slots = k.dim(0),
      .block_size = 0,
      .block_elements = 0,
      .table_slots = 0,
  };
  std::visit([&](const auto& own) { describe_form(own, call, problem); }, form);
  if (problem.form == KeyForm::kPaged) problem.backend = context.attention;
  return problem;
}

const AttentionKernel* select_attention(const AttentionProblem& problem) {
  for (const AttentionKernel& kernel : kKernels) {
    if (serves(kernel, problem) && broken_limit(kernel, problem) == nullptr) return &kernel;
  }
  return nullptr;
}

void run_attention(const char* op, const Context& context, const AttentionCall& call) {
  // The CPU checks metadata without queries as well.
  if (!context.device.is_cpu() && call.q.numel() == 0) return;
  const AttentionProblem problem = describe(context, call);
  const AttentionKernel* kernel = select_attention(problem);
  if (kernel == nullptr) refuse(op, context, problem, call);
  if (kernel->run == nullptr) checks::no_kernel(op, context);
  kernel->run(context, call);
}

}  // namespace stagegate

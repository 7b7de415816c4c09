#include "ops/linear/kernels/kernels.h"
#include "ops/linear/linear.h"

#ifdef STAGEGATE_HAS_ONEDNN
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#endif

namespace stagegate {

#ifdef STAGEGATE_HAS_ONEDNN

namespace {

using Memory = dnnl::memory;

Memory::data_type data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return Memory::data_type::f32;
    case DType::kF16:
      return Memory::data_type::f16;
    default:
      return Memory::data_type::bf16;
  }
}

// oneDNN takes its thread count from OpenMP's setting of the calling thread.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int num_threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(num_threads);
  }
  ~OpenMpThreads() { omp_set_num_threads(before_); }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

}  // namespace

namespace cpu {

bool linear_onednn(const Context& context, const LinearProblem& problem,
                   const LinearOperands& operands) {
  const auto& [x, weight, bias, out] = operands;
  const std::int64_t rows = problem.rows;
  const std::int64_t depth = problem.depth;
  const std::int64_t width = problem.width;
  const Memory::desc x_desc({rows, depth}, data_type(x.dtype()), Memory::dims{x.stride(0), 1});
  const Memory::desc weight_desc({depth, width}, data_type(weight.dtype()), Memory::dims{1, depth});
  const Memory::desc out_desc({rows, width}, data_type(out.dtype()), Memory::dims{width, 1});
  const Memory::desc bias_desc =
      bias.defined() ? Memory::desc({1, width}, data_type(bias.dtype()), Memory::dims{width, 1})
                     : Memory::desc();
  const OpenMpThreads threads(context.num_threads);
  // An empty descriptor means no implementation. Repeated shapes are served from oneDNN's own
  // cache.
  const dnnl::matmul::primitive_desc plan(cpu_engine(), x_desc, weight_desc, bias_desc, out_desc,
                                          dnnl::primitive_attr(), /*allow_empty=*/true);
  if (!plan) return false;
  dnnl::stream stream(cpu_engine());
  std::unordered_map<int, Memory> arguments{
      {DNNL_ARG_SRC, Memory(x_desc, cpu_engine(), x.raw_data())},
      {DNNL_ARG_WEIGHTS, Memory(weight_desc, cpu_engine(), weight.raw_data())},
      {DNNL_ARG_DST, Memory(out_desc, cpu_engine(), out.raw_data())}};
  if (bias.defined()) {
    arguments.emplace(DNNL_ARG_BIAS, Memory(bias_desc, cpu_engine(), bias.raw_data()));
  }
  dnnl::matmul(plan).execute(stream, arguments);
  stream.wait();
  return true;
}

}  // namespace cpu

const char* linear_backend() {
  static const std::string name = [] {
    const dnnl_version_t* version = dnnl_version();
    return message("oneDNN ", version->major, ".", version->minor, ".", version->patch);
  }();
  return name.c_str();
}

#else

namespace cpu {

bool linear_onednn(const Context&, const LinearProblem&, const LinearOperands&) { return false; }

}  // namespace cpu

const char* linear_backend() { return "openmp"; }

#endif

}  // namespace stagegate

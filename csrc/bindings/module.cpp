#include "bindings/bindings.h"
#include "ops/linear/linear.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  const std::string linear = stagegate::linear_backend();
  py::dict info;
  info["version"] = STAGEGATE_VERSION;
  info["compiler"] = STAGEGATE_COMPILER;
  info["build_type"] = STAGEGATE_BUILD_TYPE;
  info["onednn"] = linear.starts_with("oneDNN") ? py::object(py::str(linear)) : py::none();
#ifdef STAGEGATE_CUDA
  info["cuda"] = STAGEGATE_CUDA_VERSION;
#else
  info["cuda"] = py::none();
#endif
#ifdef STAGEGATE_FLASHINFER_VERSION
  info["flashinfer"] = STAGEGATE_FLASHINFER_VERSION;
#else
  info["flashinfer"] = py::none();
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "The C++ core of Stagegate.";
  module.def("build_info", &build_info, "How this module was built.");
  stagegate::bindings::bind_errors(module);
  stagegate::bindings::bind_tensor(module);
  stagegate::bindings::bind_ledger(module);
  stagegate::bindings::bind_timings(module);
  stagegate::bindings::bind_config(module);
  stagegate::bindings::bind_ops(module);
  stagegate::bindings::bind_weights(module);
  stagegate::bindings::bind_runner(module);
}

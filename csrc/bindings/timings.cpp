#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "bindings/bindings.h"
#include "device/timing_store.h"

namespace py = pybind11;

namespace stagegate::bindings {

void bind_timings(py::module_& module) {
  py::class_<TimingFile>(module, "TimingFile")
      .def_readonly("path", &TimingFile::path)
      .def_readonly("subject", &TimingFile::subject)
      .def_readonly("winners", &TimingFile::winners)
      .def_readonly("damaged", &TimingFile::damaged);
  module.def("timing_folder", &timing_folder);
  module.def("kept_timings", &kept_timings);
}

}  // namespace stagegate::bindings

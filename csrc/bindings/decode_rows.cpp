#include "ops/decode_rows/decode_rows.h"

#include "bindings/bindings.h"
#include "bindings/tensor_struct.h"

namespace py = pybind11;

namespace stagegate::bindings {

void bind_decode_rows(py::module_& module, py::module_& ops) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  py::class_<DecodeRows>(module, "DecodeRows").def(py::init([](const py::kwargs& tensors) {
    return from_tensors<DecodeRows>("DecodeRows", tensors, kDecodeRowsFields);
  }));
  py::class_<RowChanges>(module, "RowChanges").def(py::init([](const py::kwargs& tensors) {
    return from_tensors<RowChanges>("RowChanges", tensors, kRowChangesFields);
  }));
  py::class_<DecodeOperands>(module, "DecodeOperands").def(py::init([](const py::kwargs& tensors) {
    return from_tensors<DecodeOperands>("DecodeOperands", tensors, kDecodeOperandsFields);
  }));
  ops.def("set_rows", &set_rows, py::arg("context"), py::arg("changes"), py::arg("state"), no_gil);
  ops.def("gather_rows", &gather_rows, py::arg("context"), py::arg("state"), py::arg("rows"),
          py::arg("block_size"), py::arg("out"), no_gil);
  ops.def("record_samples", &record_samples, py::arg("context"), py::arg("rows"),
          py::arg("token_ids"), py::arg("context_lens"), py::arg("draw_index"), py::arg("state"),
          no_gil);
}

}  // namespace stagegate::bindings

#include <pybind11/stl.h>

#include <iterator>

#include "bindings/bindings.h"
#include "bindings/tensor_struct.h"
#include "ops/add/add.h"
#include "ops/add_rms_norm/add_rms_norm.h"
#include "ops/argmax/argmax.h"
#include "ops/attention/csr.h"
#include "ops/attention/dense.h"
#include "ops/attention/paged.h"
#include "ops/embedding/embedding.h"
#include "ops/fill_sampled/fill_sampled.h"
#include "ops/kv_write/kv_write.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/sampling/sampling.h"
#include "ops/swiglu/swiglu.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

void bind_sampling(py::module_& module, py::module_& ops) {
  py::class_<SamplingParameter>(module, "SamplingParameter")
      .def_readonly("name", &SamplingParameter::name)
      .def_property_readonly("dtype", [](const SamplingParameter& p) { return name_of(p.dtype); })
      .def_readonly("off", &SamplingParameter::off)
      .def_readonly("range", &SamplingParameter::range);
  module.attr("SAMPLING_PARAMETERS") = py::tuple(
      py::cast(std::vector(std::begin(kSamplingParameters), std::end(kSamplingParameters))));
  py::class_<SamplingInputs>(module, "SamplingInputs").def(py::init([](const py::kwargs& tensors) {
    return from_tensors<SamplingInputs>("SamplingInputs", tensors, kSamplingLists);
  }));
  py::class_<SamplingOutputs>(module, "SamplingOutputs")
      .def(py::init([](Tensor token_ids, std::optional<Tensor> logprobs,
                       std::optional<Tensor> top_ids, std::optional<Tensor> top_logprobs) {
             return SamplingOutputs{token_ids, logprobs.value_or(Tensor()),
                                    top_ids.value_or(Tensor()), top_logprobs.value_or(Tensor())};
           }),
           py::kw_only(), py::arg("token_ids"), py::arg("logprobs") = py::none(),
           py::arg("top_ids") = py::none(), py::arg("top_logprobs") = py::none());
  ops.def("sample", &sample, py::arg("context"), py::arg("logits"), py::arg("inputs"),
          py::arg("outputs"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace

// The contracts, one to one: outputs are operands, so tests can poison them.
void bind_ops(py::module_& module) {
  py::module_ ops = module.def_submodule("ops", "The operators of the core.");
  const py::call_guard<py::gil_scoped_release> no_gil;
  ops.def("embedding", &embedding, py::arg("context"), py::arg("ids"), py::arg("table"),
          py::arg("out"), no_gil);
  ops.def("fill_sampled", &fill_sampled, py::arg("context"), py::arg("last_token"), py::arg("rows"),
          py::arg("ids"), no_gil);
  ops.def(
      "linear",
      [](const Context& context, const Tensor& x, const Tensor& weight,
         const std::optional<Tensor>& bias,
         const Tensor& out) { linear(context, x, weight, bias.value_or(Tensor()), out); },
      py::arg("context"), py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("out"), no_gil);
  ops.def("rms_norm", &rms_norm, py::arg("context"), py::arg("x"), py::arg("weight"),
          py::arg("eps"), py::arg("out"), no_gil);
  ops.def("add_rms_norm", &add_rms_norm, py::arg("context"), py::arg("x"), py::arg("residual"),
          py::arg("weight"), py::arg("eps"), py::arg("out"), no_gil);
  ops.def("rope", &rope, py::arg("context"), py::arg("x"), py::arg("positions"), py::arg("cos"),
          py::arg("sin"), no_gil);
  ops.def(
      "make_rope_table",
      [](std::int64_t max_positions, std::int64_t head_dim, double theta,
         const std::optional<RopeScaling>& scaling) {
        const RopeTable table = make_rope_table(max_positions, head_dim, theta, scaling, Device{});
        return std::pair(table.cos, table.sin);
      },
      py::arg("max_positions"), py::arg("head_dim"), py::arg("theta"),
      py::arg("scaling") = py::none());
  ops.def("swiglu", &swiglu, py::arg("context"), py::arg("gate_up"), py::arg("out"), no_gil);
  ops.def("add", &add, py::arg("context"), py::arg("a"), py::arg("b"), py::arg("out"), no_gil);
  ops.def("argmax", &argmax, py::arg("context"), py::arg("x"), py::arg("out"), no_gil);
  ops.def("kv_write", &kv_write, py::arg("context"), py::arg("k"), py::arg("v"),
          py::arg("slot_mapping"), py::arg("k_cache"), py::arg("v_cache"), no_gil);
  ops.def("self_attention", &self_attention, py::arg("context"), py::arg("q"), py::arg("k"),
          py::arg("v"), py::arg("scale"), py::arg("out"), no_gil);
  ops.def("self_attention_paged", &self_attention_paged, py::arg("context"), py::arg("q"),
          py::arg("k_cache"), py::arg("v_cache"), py::arg("used_slots"), py::arg("row_ptr"),
          py::arg("col_idx"), py::arg("scale"), py::arg("out"), no_gil);
  ops.def("paged_attention", &paged_attention, py::arg("context"), py::arg("q"), py::arg("k_cache"),
          py::arg("v_cache"), py::arg("block_tables"), py::arg("context_lens"),
          py::arg("cu_seqlens_q"), py::arg("block_size"), py::arg("scale"), py::arg("out"), no_gil);
  bind_sampling(module, ops);
  bind_decode_rows(module, ops);
  bind_blocks(module, ops);
}

}  // namespace stagegate::bindings

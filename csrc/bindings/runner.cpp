#include "runner/runner.h"

#include <pybind11/stl.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

void bind_step(py::module_& module) {
  py::class_<StepInput>(module, "StepInput")
      .def(py::init([](Tensor input_ids, Tensor positions, Tensor slot_mapping, Tensor cu_seqlens_q,
                       Tensor context_lens, Tensor logits_indices, AttentionMetadata attention,
                       std::optional<Tensor> drawn_rows, std::optional<SamplingInputs> sampling,
                       std::int64_t num_logprobs, bool return_logits) {
             return StepInput{{std::move(input_ids), std::move(positions), std::move(slot_mapping),
                               std::move(cu_seqlens_q), std::move(context_lens),
                               std::move(logits_indices), std::move(attention)},
                              drawn_rows.value_or(Tensor()),
                              std::move(sampling),
                              num_logprobs,
                              return_logits};
           }),
           py::kw_only(), py::arg("input_ids"), py::arg("positions"), py::arg("slot_mapping"),
           py::arg("cu_seqlens_q"), py::arg("context_lens"), py::arg("logits_indices"),
           py::arg("attention"), py::arg("drawn_rows"), py::arg("sampling"),
           py::arg("num_logprobs"), py::arg("return_logits"));
  const auto optional_tensor = [](Tensor StepOutput::* field) {
    return [field](const StepOutput& output) -> std::optional<Tensor> {
      const Tensor& tensor = output.*field;
      return tensor.defined() ? std::optional(tensor) : std::nullopt;
    };
  };
  py::class_<StepOutput>(module, "StepOutput")
      .def_property_readonly("token_ids", optional_tensor(&StepOutput::token_ids))
      .def_property_readonly("logprobs", optional_tensor(&StepOutput::logprobs))
      .def_property_readonly("top_ids", optional_tensor(&StepOutput::top_ids))
      .def_property_readonly("top_logprobs", optional_tensor(&StepOutput::top_logprobs))
      .def_property_readonly("logits", optional_tensor(&StepOutput::logits));
}

}  // namespace

void bind_runner(py::module_& module) {
  bind_step(module);
  py::class_<PendingStep>(module, "PendingStep")
      .def("wait", &PendingStep::wait, py::call_guard<py::gil_scoped_release>());
  py::class_<Runner>(module, "Runner")
      .def(py::init<DecoderWeights, Context, std::int64_t, std::int64_t, std::int64_t>(),
           py::kw_only(), py::arg("weights"), py::arg("context"), py::arg("max_tokens"),
           py::arg("max_rows"), py::arg("max_positions"))
      .def(
          "allocate_kv",
          [](Runner& runner, std::int64_t num_slots, const std::string& dtype) {
            runner.allocate_kv(num_slots, dtype_from_name(dtype));
          },
          py::arg("num_slots"), py::arg("dtype"), py::call_guard<py::gil_scoped_release>())
      .def("step", &Runner::step, py::arg("input"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("free_bytes", &Runner::free_bytes)
      .def_property_readonly("weight_bytes", &Runner::weight_bytes)
      .def_property_readonly("kv_bytes", &Runner::kv_bytes)
      .def_property_readonly("workspace_bytes", &Runner::workspace_bytes)
      .def_property_readonly("num_slots", &Runner::num_slots);
}

}  // namespace stagegate::bindings

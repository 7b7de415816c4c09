#include "runner/runner.h"

#include <pybind11/stl.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

void bind_step(py::module_& module) {
  using MaybeTensor = std::optional<Tensor>;
  py::class_<ArrayStep>(module, "ArrayStep")
      .def(py::init([](Tensor input_ids, Tensor positions, Tensor slot_mapping, Tensor cu_seqlens_q,
                       Tensor context_lens, Tensor logits_indices, AttentionMetadata attention,
                       std::optional<RowChanges> changes, const MaybeTensor& token_rows,
                       std::optional<SamplingInputs> sampling, const MaybeTensor& sample_rows,
                       const MaybeTensor& sample_lens, std::int64_t num_logprobs,
                       bool return_logits) {
             return ArrayStep{
                 .tensors = {std::move(input_ids), std::move(positions), std::move(slot_mapping),
                             std::move(cu_seqlens_q), std::move(context_lens),
                             std::move(logits_indices), std::move(attention)},
                 .changes = std::move(changes),
                 .token_rows = token_rows.value_or(Tensor()),
                 .sampling = std::move(sampling),
                 .sample_rows = sample_rows.value_or(Tensor()),
                 .sample_lens = sample_lens.value_or(Tensor()),
                 .wanted = {.num_logprobs = num_logprobs, .logits = return_logits}};
           }),
           py::kw_only(), py::arg("input_ids"), py::arg("positions"), py::arg("slot_mapping"),
           py::arg("cu_seqlens_q"), py::arg("context_lens"), py::arg("logits_indices"),
           py::arg("attention"), py::arg("changes") = py::none(),
           py::arg("token_rows") = py::none(), py::arg("sampling") = py::none(),
           py::arg("sample_rows") = py::none(), py::arg("sample_lens") = py::none(),
           py::arg("num_logprobs") = -1, py::arg("return_logits") = false);
  py::class_<DecodeStep>(module, "DecodeStep")
      .def(py::init([](Tensor rows, std::optional<RowChanges> changes,
                       std::optional<SamplingInputs> sampling, std::int64_t num_logprobs,
                       bool return_logits) {
             return DecodeStep{.rows = std::move(rows),
                               .changes = std::move(changes),
                               .sampling = std::move(sampling),
                               .wanted = {.num_logprobs = num_logprobs, .logits = return_logits}};
           }),
           py::kw_only(), py::arg("rows"), py::arg("changes") = py::none(),
           py::arg("sampling") = py::none(), py::arg("num_logprobs") = -1,
           py::arg("return_logits") = false);
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
      .def(py::init([](DecoderWeights weights, const Context& context, std::int64_t max_tokens,
                       std::int64_t max_rows, std::int64_t max_positions, std::int64_t max_seqs,
                       std::int64_t block_size) {
             return std::make_unique<Runner>(std::move(weights), context,
                                             RunnerLimits{.max_tokens = max_tokens,
                                                          .max_rows = max_rows,
                                                          .max_positions = max_positions,
                                                          .max_seqs = max_seqs,
                                                          .block_size = block_size});
           }),
           py::kw_only(), py::arg("weights"), py::arg("context"), py::arg("max_tokens"),
           py::arg("max_rows"), py::arg("max_positions"), py::arg("max_seqs"),
           py::arg("block_size"))
      .def(
          "allocate_kv",
          [](Runner& runner, std::int64_t num_slots, const std::string& dtype) {
            runner.allocate_kv(num_slots, dtype_from_name(dtype));
          },
          py::arg("num_slots"), py::arg("dtype"), py::call_guard<py::gil_scoped_release>())
      .def(
          "capture",
          [](Runner& runner, const std::optional<py::function>& progress) {
            GraphRunner::Progress report;
            if (progress) {
              report = [&progress](std::int64_t done, std::int64_t of) {
                const py::gil_scoped_acquire gil;
                (*progress)(done, of);
              };
            }
            const py::gil_scoped_release no_gil;
            runner.capture(report);
          },
          py::arg("progress") = py::none())
      .def("step", &Runner::step, py::arg("step"), py::call_guard<py::gil_scoped_release>())
      .def("decode", &Runner::decode, py::arg("step"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("free_bytes", &Runner::free_bytes)
      .def_property_readonly("weight_bytes", &Runner::weight_bytes)
      .def_property_readonly("kv_bytes", &Runner::kv_bytes)
      .def_property_readonly("workspace_bytes", &Runner::workspace_bytes)
      .def_property_readonly("row_bytes", &Runner::row_bytes)
      .def_property_readonly("num_slots", &Runner::num_slots);
}

}  // namespace stagegate::bindings

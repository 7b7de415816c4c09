#include "runner/runner.h"

#include <pybind11/stl.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

void bind_config(py::module_& module) {
  py::class_<Qwen2Config>(module, "Qwen2Config")
      .def(py::init([](std::int64_t vocab_size, std::int64_t hidden_size,
                       std::int64_t intermediate_size, std::int64_t num_layers,
                       std::int64_t num_heads, std::int64_t num_kv_heads, std::int64_t head_dim,
                       float rms_norm_eps, double rope_theta, bool tie_word_embeddings) {
             return Qwen2Config{vocab_size, hidden_size,        intermediate_size, num_layers,
                                num_heads,  num_kv_heads,       head_dim,          rms_norm_eps,
                                rope_theta, tie_word_embeddings};
           }),
           py::kw_only(), py::arg("vocab_size"), py::arg("hidden_size"),
           py::arg("intermediate_size"), py::arg("num_layers"), py::arg("num_heads"),
           py::arg("num_kv_heads"), py::arg("head_dim"), py::arg("rms_norm_eps"),
           py::arg("rope_theta"), py::arg("tie_word_embeddings"));
}

void bind_weights(py::module_& module) {
  py::class_<Qwen2Weights>(module, "Qwen2Weights")
      .def(
          py::init([](const Qwen2Config& config, const std::string& dtype, const Context& context) {
            return Qwen2Weights(config, dtype_from_name(dtype), context.device);
          }),
          py::arg("config"), py::arg("dtype"), py::arg("context"))
      .def("load", &Qwen2Weights::load, py::arg("name"), py::arg("tensor"),
           py::call_guard<py::gil_scoped_release>())
      .def("missing", &Qwen2Weights::missing);
}

void bind_step(py::module_& module) {
  py::class_<PagedMetadata>(module, "PagedMetadata")
      .def(py::init<Tensor, std::int64_t>(), py::arg("block_tables"), py::arg("block_size"));
  py::class_<CsrMetadata>(module, "CsrMetadata")
      .def(py::init<Tensor, Tensor, Tensor>(), py::arg("used_slots"), py::arg("row_ptr"),
           py::arg("col_idx"));
  py::class_<StepInput>(module, "StepInput")
      .def(py::init([](Tensor input_ids, Tensor positions, Tensor slot_mapping, Tensor cu_seqlens_q,
                       Tensor context_lens, Tensor logits_indices,
                       std::variant<PagedMetadata, CsrMetadata> attention,
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
  bind_config(module);
  bind_weights(module);
  bind_step(module);
  py::class_<PendingStep>(module, "PendingStep")
      .def("wait", &PendingStep::wait, py::call_guard<py::gil_scoped_release>());
  py::class_<Runner>(module, "Runner")
      .def(py::init<Qwen2Weights, Context, std::int64_t, std::int64_t, std::int64_t>(),
           py::kw_only(), py::arg("weights"), py::arg("context"), py::arg("max_tokens"),
           py::arg("max_rows"), py::arg("max_positions"))
      .def("allocate_kv", &Runner::allocate_kv, py::arg("num_slots"),
           py::call_guard<py::gil_scoped_release>())
      .def("step", &Runner::step, py::arg("input"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("free_bytes", &Runner::free_bytes)
      .def_property_readonly("weight_bytes", &Runner::weight_bytes)
      .def_property_readonly("kv_bytes", &Runner::kv_bytes)
      .def_property_readonly("workspace_bytes", &Runner::workspace_bytes)
      .def_property_readonly("num_slots", &Runner::num_slots);
}

}  // namespace stagegate::bindings

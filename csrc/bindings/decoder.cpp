#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "model/weights.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

// Every field of the two structs once, under the name that Python states it by.
template <typename Visit>
void visit_fields(RopeScaling& scaling, Visit visit) {
  visit("factor", scaling.factor);
  visit("low_freq_factor", scaling.low_freq_factor);
  visit("high_freq_factor", scaling.high_freq_factor);
  visit("original_max_positions", scaling.original_max_positions);
}

template <typename Visit>
void visit_fields(DecoderConfig& config, Visit visit) {
  visit("vocab_size", config.vocab_size);
  visit("hidden_size", config.hidden_size);
  visit("intermediate_size", config.intermediate_size);
  visit("num_layers", config.num_layers);
  visit("num_heads", config.num_heads);
  visit("num_kv_heads", config.num_kv_heads);
  visit("head_dim", config.head_dim);
  visit("max_position_embeddings", config.max_position_embeddings);
  visit("rms_norm_eps", config.rms_norm_eps);
  visit("rope_theta", config.rope_theta);
  visit("rope_scaling", config.rope_scaling);
  visit("qkv_bias", config.qkv_bias);
  visit("qk_norm", config.qk_norm);
  visit("tie_word_embeddings", config.tie_word_embeddings);
}

// A struct from keyword arguments: each field has to be stated, and nothing else.
template <typename Struct>
Struct from_keywords(const py::kwargs& stated) {
  Struct result{};
  std::size_t fields = 0;
  std::string names;
  visit_fields(result, [&]<typename Field>(const char* name, Field& field) {
    ++fields;
    names += names.empty() ? name : std::string(", ") + name;
    if (!stated.contains(name)) throw py::type_error(message(name, " is missing"));
    try {
      field = py::cast<Field>(stated[name]);
    } catch (const py::cast_error&) {
      throw py::type_error(
          message(name, " has a value of the wrong type: ", py::repr(stated[name])));
    }
  });
  if (stated.size() != fields) {
    throw py::type_error(message("the fields are ", names, ", got ", py::repr(py::list(stated))));
  }
  result.check();
  return result;
}

}  // namespace

void bind_config(py::module_& module) {
  py::class_<RopeScaling>(module, "RopeScaling").def(py::init(&from_keywords<RopeScaling>));
  py::class_<DecoderConfig>(module, "DecoderConfig").def(py::init(&from_keywords<DecoderConfig>));
}

void bind_weights(py::module_& module) {
  py::class_<WeightSpec>(module, "WeightSpec")
      .def_readonly("role", &WeightSpec::role)
      .def_readonly("parts", &WeightSpec::parts)
      .def_property_readonly("shard", [](const WeightSpec& spec) { return name_of(spec.shard); });
  module.def("weight_specs", &weight_specs, py::arg("config"));
  py::class_<DecoderWeights>(module, "DecoderWeights")
      .def(py::init(
               [](const DecoderConfig& config, const std::string& dtype, const Context& context) {
                 return DecoderWeights(config, dtype_from_name(dtype), context.device);
               }),
           py::arg("config"), py::arg("dtype"), py::arg("context"))
      .def("load", &DecoderWeights::load, py::arg("role"), py::arg("part"), py::arg("tensor"),
           py::call_guard<py::gil_scoped_release>())
      .def("missing", &DecoderWeights::missing);
}

}  // namespace stagegate::bindings

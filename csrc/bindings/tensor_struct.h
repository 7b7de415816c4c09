#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "ops/sampling/sampling.h"

namespace stagegate::bindings {

// A struct of sampling columns and further tensors from keyword arguments. An optional one may be
// left out or None. Throws TypeError for a tensor that is missing and for an unknown name.
template <typename Struct>
Struct from_tensors(std::string_view type, const pybind11::kwargs& tensors,
                    std::span<const Field<Struct>> fields) {
  namespace py = pybind11;
  Struct result;
  std::vector<std::string> known;
  const auto take = [&](std::string_view name, bool optional, Tensor& to) {
    const std::string key(name);
    known.push_back(key);
    if (!tensors.contains(key)) {
      if (optional) return;
      throw py::type_error(message(type, ": ", name, " is missing"));
    }
    const py::object value = tensors[py::str(key)];
    if (!(optional && value.is_none())) to = py::cast<Tensor>(value);
  };
  for (const SamplingColumn& column : kSamplingColumns) {
    take(column.name, false, result.*column.tensor);
  }
  for (const Field<Struct>& field : fields) take(field.name, field.optional, result.*field.tensor);
  for (const auto& [name, tensor] : tensors) {
    const auto given = py::cast<std::string>(name);
    if (std::ranges::find(known, given) == known.end()) {
      throw py::type_error(message(type, ": ", given, " is no operand"));
    }
  }
  return result;
}

}  // namespace stagegate::bindings

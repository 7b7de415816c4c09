#pragma once

#include <pybind11/pybind11.h>

// One function per area; module.cpp calls them in this order.
namespace stagegate::bindings {

void bind_errors(pybind11::module_& module);
void bind_tensor(pybind11::module_& module);
void bind_ledger(pybind11::module_& module);
void bind_timings(pybind11::module_& module);
void bind_config(pybind11::module_& module);
void bind_ops(pybind11::module_& module);
// The block operators, called by bind_ops.
void bind_blocks(pybind11::module_& module, pybind11::module_& ops);
void bind_decode_rows(pybind11::module_& module, pybind11::module_& ops);
void bind_weights(pybind11::module_& module);
void bind_runner(pybind11::module_& module);

}  // namespace stagegate::bindings

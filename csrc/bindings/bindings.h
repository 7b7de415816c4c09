#pragma once

#include <pybind11/pybind11.h>

// One function per area; module.cpp calls them in this order.
namespace stagegate::bindings {

void bind_errors(pybind11::module_& module);
void bind_tensor(pybind11::module_& module);
void bind_ledger(pybind11::module_& module);
void bind_ops(pybind11::module_& module);
void bind_runner(pybind11::module_& module);

}  // namespace stagegate::bindings

#include "device/ledger.h"

#include <pybind11/stl.h>

#include "bindings/bindings.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

// A ledger that the thread keeps inside a `with` block.
class LedgerBlock {
 public:
  void enter() { outer_ = exchange_ledger(&ledger_); }
  void leave() { exchange_ledger(outer_); }
  const Ledger& ledger() const { return ledger_; }

 private:
  Ledger ledger_;
  Ledger* outer_ = nullptr;
};

}  // namespace

void bind_ledger(py::module_& module) {
  py::class_<LedgerBlock>(module, "Ledger")
      .def(py::init<>())
      .def(
          "__enter__",
          [](LedgerBlock& self) -> LedgerBlock& {
            self.enter();
            return self;
          },
          py::return_value_policy::reference)
      .def("__exit__", [](LedgerBlock& self, const py::object&, const py::object&,
                          const py::object&) { self.leave(); })
      .def_property_readonly("dispatches",
                             [](const LedgerBlock& self) { return self.ledger().dispatches(); })
      .def_property_readonly("copies", [](const LedgerBlock& self) {
        std::map<std::pair<std::string, std::string>, std::pair<std::int64_t, std::size_t>> copies;
        for (const auto& [key, total] : self.ledger().copies()) {
          copies[key] = {total.count, total.size_bytes};
        }
        return copies;
      });
}

}  // namespace stagegate::bindings

#include <new>

#include "bindings/bindings.h"
#include "core/error.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

void raise(const char* name, const char* text) {
  const py::object type = py::module_::import("stagegate.errors").attr(name);
  PyErr_SetString(type.ptr(), text);
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    if (!pointer) return;
    try {
      std::rethrow_exception(pointer);
    } catch (const ShapeError& error) {
      raise("ShapeError", error.what());
    } catch (const DTypeError& error) {
      raise("DTypeError", error.what());
    } catch (const DeviceLostError& error) {
      raise("DeviceLostError", error.what());
    } catch (const DeviceError& error) {
      raise("DeviceError", error.what());
    } catch (const ContiguityError& error) {
      raise("ContiguityError", error.what());
    } catch (const ArgumentError& error) {
      raise("ArgumentError", error.what());
    } catch (const OutOfMemoryError& error) {
      raise("OutOfMemoryError", error.what());
    } catch (const std::bad_alloc&) {
      raise("OutOfMemoryError", "the host is out of memory");
    }
  });
}

}  // namespace stagegate::bindings

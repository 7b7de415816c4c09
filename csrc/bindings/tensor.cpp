#include "core/tensor.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <charconv>

#include "bindings/bindings.h"
#include "device/context.h"
#include "device/copy.h"
#include "device/memory.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

Device device_from_name(const std::string& name) {
  if (name == "cpu") return {};
  if (name == "cuda") return {DeviceType::kCUDA, 0};
  constexpr std::string_view kIndexed = "cuda:";
  if (name.starts_with(kIndexed)) {
    int index = 0;
    const char* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kIndexed.size(), end, index);
    if (error == std::errc() && rest == end && index >= 0) return {DeviceType::kCUDA, index};
  }
  throw DeviceError(message("unknown device '", name, "'; use cpu, cuda or cuda:N"));
}

// In the byte order of this machine, or of single bytes.
bool is_native(const py::array& array) {
  const char order = array.dtype().byteorder();
  return order == '=' || order == '|';
}

DType dtype_of_array(const py::array& array) {
  const char kind = array.dtype().kind();
  const py::ssize_t width = array.itemsize();
  if (is_native(array)) {
    if (kind == 'f' && width == 4) return DType::kF32;
    if (kind == 'f' && width == 2) return DType::kF16;
    if (kind == 'i' && width == 4) return DType::kI32;
    if (kind == 'i' && width == 8) return DType::kI64;
    if (kind == 'u' && width == 1) return DType::kU8;
  }
  throw DTypeError(message("from_numpy: no dtype for a numpy array of ",
                           py::str(array.dtype()).cast<std::string>(),
                           "; use float32, float16, int32, int64 or uint8, or uint16 bits with "
                           "dtype='bf16'"));
}

Tensor from_numpy(const py::array& source, const std::optional<std::string>& dtype) {
  const py::array array = py::array::ensure(source, py::array::c_style);
  const bool bits =
      dtype == "bf16" && array.dtype().kind() == 'u' && array.itemsize() == 2 && is_native(array);
  const DType stored = bits ? DType::kBF16 : dtype_of_array(array);
  const Shape shape(array.shape(), array.shape() + array.ndim());
  Tensor tensor = empty(shape, stored, Device{});
  std::memcpy(tensor.raw_data(), array.data(), tensor.size_bytes());
  return dtype ? to(tensor, dtype_from_name(*dtype), Device{}) : tensor;
}

Tensor from_buffer(const py::buffer& owner, const std::string& dtype, Shape shape,
                   std::size_t offset_bytes) {
  // The view holds the exporter: a memory map cannot be closed while a tensor reads it.
  auto view = std::make_shared<py::buffer_info>(owner.request());
  SG_CHECK(ContiguityError, PyBuffer_IsContiguous(view->view(), 'C') == 1,
           "from_buffer: the buffer must be contiguous; copy it, or pass what it is a slice of");
  const auto size_bytes = static_cast<std::size_t>(view->size * view->itemsize);
  SG_CHECK(ArgumentError, offset_bytes <= size_bytes, "from_buffer: offset ", offset_bytes,
           " is past the end of a buffer of ", size_bytes, " bytes");
  auto* data = static_cast<std::byte*>(view->ptr) + offset_bytes;
  auto storage =
      std::make_shared<Storage>(data, size_bytes - offset_bytes, Device{}, [view]() mutable {
        const py::gil_scoped_acquire gil;
        view.reset();
      });
  return Tensor(std::move(storage), dtype_from_name(dtype), std::move(shape));
}

template <typename T>
py::array array_of(const Tensor& tensor) {
  py::array_t<T> array(tensor.shape());
  std::memcpy(array.mutable_data(), tensor.raw_data(), tensor.size_bytes());
  return array;
}

// numpy has no bfloat16, so those arrive as f32.
py::array to_numpy(const Tensor& source) {
  const DType dtype = source.dtype() == DType::kBF16 ? DType::kF32 : source.dtype();
  const Tensor tensor = contiguous(to(source, dtype, Device{}));
  switch (tensor.dtype()) {
    case DType::kF16: {
      py::array array(py::dtype("float16"), tensor.shape());
      std::memcpy(array.mutable_data(), tensor.raw_data(), tensor.size_bytes());
      return array;
    }
    case DType::kI32:
      return array_of<std::int32_t>(tensor);
    case DType::kI64:
      return array_of<std::int64_t>(tensor);
    case DType::kU8:
      return array_of<std::uint8_t>(tensor);
    default:
      return array_of<float>(tensor);
  }
}

constexpr const char* kNative = "native";
constexpr const char* kFlashInfer = "flashinfer";

AttentionBackend attention_from_name(const std::string& name) {
  if (name == kNative) return AttentionBackend::kNative;
  if (name == kFlashInfer) return AttentionBackend::kFlashInfer;
  throw ArgumentError(
      message("context: attention must be ", kNative, " or ", kFlashInfer, ", got \"", name, "\""));
}

const char* attention_name(AttentionBackend attention) {
  return attention == AttentionBackend::kNative ? kNative : kFlashInfer;
}

constexpr const char* kAuto = "auto";
constexpr const char* kComposed = "composed";

LinearBackend linear_from_name(const std::string& name) {
  if (name == kAuto) return LinearBackend::kAuto;
  if (name == kComposed) return LinearBackend::kComposed;
  throw ArgumentError(message("context: linear_backend must be ", kAuto, " or ", kComposed,
                              ", got \"", name, "\""));
}

const char* linear_name(LinearBackend linear) {
  return linear == LinearBackend::kAuto ? kAuto : kComposed;
}

}  // namespace

void bind_tensor(py::module_& module) {
  py::class_<Context>(module, "Context")
      .def(py::init([](const std::string& device, int num_threads, bool deterministic,
                       const std::string& attention, const std::string& linear_backend,
                       const std::optional<std::string>& instruction_set) {
             SG_CHECK(ArgumentError, num_threads > 0, "context: num_threads must be positive, got ",
                      num_threads);
             return make_context(device_from_name(device), num_threads, deterministic,
                                 attention_from_name(attention), linear_from_name(linear_backend),
                                 instruction_set ? instruction_set_from_name(*instruction_set)
                                                 : best_instruction_set());
           }),
           py::arg("device") = "cpu", py::arg("num_threads") = 1, py::arg("deterministic") = false,
           py::arg("attention") = "native", py::arg("linear_backend") = "auto",
           py::arg("instruction_set") = py::none())
      .def_property_readonly("device", [](const Context& self) { return self.device.name(); })
      .def_readonly("num_threads", &Context::num_threads)
      .def_readonly("deterministic", &Context::deterministic)
      .def_property_readonly("attention",
                             [](const Context& self) { return attention_name(self.attention); })
      .def_property_readonly("linear_backend",
                             [](const Context& self) { return linear_name(self.linear); })
      .def_property_readonly(
          "instruction_set",
          [](const Context& self) { return instruction_set_name(self.instruction_set); })
      .def("synchronize", &synchronize, py::call_guard<py::gil_scoped_release>());

  py::class_<Tensor>(module, "Tensor")
      .def_static("from_numpy", &from_numpy, py::arg("array"), py::arg("dtype") = py::none())
      .def_static("from_buffer", &from_buffer, py::arg("buffer"), py::arg("dtype"),
                  py::arg("shape"), py::arg("offset_bytes") = 0)
      .def("numpy", &to_numpy)
      .def_property_readonly("shape",
                             [](const Tensor& self) { return py::tuple(py::cast(self.shape())); })
      .def_property_readonly("strides",
                             [](const Tensor& self) { return py::tuple(py::cast(self.strides())); })
      .def_property_readonly("dtype",
                             [](const Tensor& self) { return std::string(name_of(self.dtype())); })
      .def_property_readonly("device", [](const Tensor& self) { return self.device().name(); })
      .def_property_readonly("is_contiguous", &Tensor::is_contiguous)
      .def("view", &Tensor::view, py::arg("shape"))
      .def("slice", &Tensor::slice, py::arg("dim"), py::arg("start"), py::arg("stop"))
      .def("permute", &Tensor::permute, py::arg("dims"))
      .def("reshape", &reshape, py::arg("shape"))
      .def("contiguous", &contiguous)
      .def(
          "to",
          [](const Tensor& self, const std::optional<std::string>& dtype,
             const std::optional<std::string>& device) {
            return to(self, dtype ? dtype_from_name(*dtype) : self.dtype(),
                      device ? device_from_name(*device) : self.device());
          },
          py::kw_only(), py::arg("dtype") = py::none(), py::arg("device") = py::none())
      .def("__repr__", [](const Tensor& self) { return "Tensor(" + self.describe() + ")"; });

  module.def("copy", &copy, py::arg("source"), py::arg("destination"),
             py::call_guard<py::gil_scoped_release>());
  const auto factory = [](Tensor (*make)(Shape, DType, Device)) {
    return [make](Shape shape, const std::string& dtype, const std::string& device) {
      return make(std::move(shape), dtype_from_name(dtype), device_from_name(device));
    };
  };
  module.def("empty", factory(&empty), py::arg("shape"), py::arg("dtype"),
             py::arg("device") = "cpu");
  module.def("zeros", factory(&zeros), py::arg("shape"), py::arg("dtype"),
             py::arg("device") = "cpu");
}

}  // namespace stagegate::bindings

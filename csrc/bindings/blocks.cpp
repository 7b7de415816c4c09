#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "ops/attend/attend.h"
#include "ops/attention_input/attention_input.h"
#include "ops/attention_output/attention_output.h"
#include "ops/logits/logits.h"
#include "ops/mlp_input/mlp_input.h"
#include "ops/mlp_output/mlp_output.h"
#include "ops/rope_kv_write/rope_kv_write.h"

namespace py = pybind11;

namespace stagegate::bindings {

namespace {

using MaybeTensor = std::optional<Tensor>;

Tensor or_undefined(const MaybeTensor& tensor) { return tensor.value_or(Tensor()); }

LinearWeight linear_weight(const Tensor& data, const MaybeTensor& bias) {
  return {.data = data, .scale = Tensor(), .bias = or_undefined(bias)};
}

KvLayer kv_layer(const Tensor& keys, const Tensor& values) {
  return {.keys = keys, .values = values, .key_scale = Tensor(), .value_scale = Tensor()};
}

void bind_attention(py::module_& ops) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  ops.def(
      "rope_kv_write",
      [](const Context& context, const Tensor& qkv, const MaybeTensor& q_norm,
         const MaybeTensor& k_norm, float eps, const Tensor& positions, const Tensor& cos,
         const Tensor& sin, const Tensor& slot_mapping, const Tensor& k_cache,
         const Tensor& v_cache) {
        rope_kv_write(context, qkv, {or_undefined(q_norm), or_undefined(k_norm), eps}, positions,
                      {cos, sin}, slot_mapping, kv_layer(k_cache, v_cache));
      },
      py::arg("context"), py::kw_only(), py::arg("qkv"), py::arg("q_norm"), py::arg("k_norm"),
      py::arg("eps"), py::arg("positions"), py::arg("cos"), py::arg("sin"), py::arg("slot_mapping"),
      py::arg("k_cache"), py::arg("v_cache"), no_gil);
  ops.def(
      "attention_input",
      [](const Context& context, const Tensor& residual, const MaybeTensor& norm,
         const Tensor& qkv_weight, const MaybeTensor& qkv_bias, const MaybeTensor& q_norm,
         const MaybeTensor& k_norm, float eps, const Tensor& positions, const Tensor& cos,
         const Tensor& sin, const Tensor& slot_mapping, const Tensor& k_cache,
         const Tensor& v_cache, const Tensor& normed, const Tensor& qkv) {
        const AttentionInputWeights weights{.norm = or_undefined(norm),
                                            .qkv = linear_weight(qkv_weight, qkv_bias),
                                            .q_norm = or_undefined(q_norm),
                                            .k_norm = or_undefined(k_norm)};
        attention_input(context, residual, weights, eps, positions, {cos, sin}, slot_mapping,
                        kv_layer(k_cache, v_cache), normed, qkv);
      },
      py::arg("context"), py::kw_only(), py::arg("residual"), py::arg("norm"),
      py::arg("qkv_weight"), py::arg("qkv_bias"), py::arg("q_norm"), py::arg("k_norm"),
      py::arg("eps"), py::arg("positions"), py::arg("cos"), py::arg("sin"), py::arg("slot_mapping"),
      py::arg("k_cache"), py::arg("v_cache"), py::arg("normed"), py::arg("qkv"), no_gil);
  ops.def(
      "attend",
      [](const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
         const AttentionMetadata& metadata, const Tensor& context_lens, const Tensor& cu_seqlens_q,
         float scale, const Tensor& out) {
        attend(context, q, kv_layer(k_cache, v_cache), metadata, context_lens, cu_seqlens_q, scale,
               out);
      },
      py::arg("context"), py::kw_only(), py::arg("q"), py::arg("k_cache"), py::arg("v_cache"),
      py::arg("metadata"), py::arg("context_lens"), py::arg("cu_seqlens_q"), py::arg("scale"),
      py::arg("out"), no_gil);
  ops.def(
      "attention_output",
      [](const Context& context, const Tensor& attention, const Tensor& o_weight,
         const MaybeTensor& o_bias, const Tensor& projected, const Tensor& residual,
         const MaybeTensor& next_norm, float eps, const MaybeTensor& next_normed) {
        attention_output(context, attention, linear_weight(o_weight, o_bias), projected, residual,
                         {or_undefined(next_norm), eps, or_undefined(next_normed)});
      },
      py::arg("context"), py::kw_only(), py::arg("attention"), py::arg("o_weight"),
      py::arg("o_bias"), py::arg("projected"), py::arg("residual"),
      py::arg("next_norm") = py::none(), py::arg("eps") = 0.0f, py::arg("next_normed") = py::none(),
      no_gil);
}

void bind_mlp(py::module_& ops) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  ops.def(
      "mlp_input",
      [](const Context& context, const Tensor& residual, const MaybeTensor& norm, float eps,
         const Tensor& gate_up_weight, const MaybeTensor& gate_up_bias, const Tensor& normed,
         const Tensor& projected, const Tensor& activated) {
        mlp_input(context, residual, or_undefined(norm), eps,
                  linear_weight(gate_up_weight, gate_up_bias), normed, projected, activated);
      },
      py::arg("context"), py::kw_only(), py::arg("residual"), py::arg("norm"), py::arg("eps"),
      py::arg("gate_up_weight"), py::arg("gate_up_bias"), py::arg("normed"), py::arg("projected"),
      py::arg("activated"), no_gil);
  ops.def(
      "mlp_output",
      [](const Context& context, const Tensor& activated, const Tensor& down_weight,
         const MaybeTensor& down_bias, const Tensor& projected, const Tensor& residual,
         const MaybeTensor& next_norm, float eps, const MaybeTensor& next_normed) {
        mlp_output(context, activated, linear_weight(down_weight, down_bias), projected, residual,
                   {or_undefined(next_norm), eps, or_undefined(next_normed)});
      },
      py::arg("context"), py::kw_only(), py::arg("activated"), py::arg("down_weight"),
      py::arg("down_bias"), py::arg("projected"), py::arg("residual"),
      py::arg("next_norm") = py::none(), py::arg("eps") = 0.0f, py::arg("next_normed") = py::none(),
      no_gil);
  ops.def(
      "logits",
      [](const Context& context, const Tensor& residual, const Tensor& indices, const Tensor& norm,
         float eps, const Tensor& head_weight, const MaybeTensor& head_bias, const Tensor& rows,
         const Tensor& out) {
        logits(context, residual, indices, norm, eps, linear_weight(head_weight, head_bias), rows,
               out);
      },
      py::arg("context"), py::kw_only(), py::arg("residual"), py::arg("indices"), py::arg("norm"),
      py::arg("eps"), py::arg("head_weight"), py::arg("head_bias"), py::arg("rows"), py::arg("out"),
      no_gil);
}

}  // namespace

void bind_blocks(py::module_& module, py::module_& ops) {
  py::class_<PagedMetadata>(module, "PagedMetadata")
      .def(py::init<Tensor, std::int64_t>(), py::arg("block_tables"), py::arg("block_size"));
  py::class_<CsrMetadata>(module, "CsrMetadata")
      .def(py::init<Tensor, Tensor, Tensor>(), py::arg("used_slots"), py::arg("row_ptr"),
           py::arg("col_idx"));
  bind_attention(ops);
  bind_mlp(ops);
}

}  // namespace stagegate::bindings

#include "runner/step_buffers.h"

#include <numeric>

#include "device/copy.h"
#include "device/memory.h"

namespace stagegate {

namespace {

// 0, 1, ..., count - 1.
Tensor counted(std::int64_t count, Device device) {
  const Tensor values = empty({count}, DType::kI32, Device{});
  auto* const data = values.data<std::int32_t>();
  std::iota(data, data + count, 0);
  return to(values, DType::kI32, device);
}

}  // namespace

StepBuffers::StepBuffers(std::int64_t max_batch, std::int64_t table_width, Device device)
    : rows_(zeros({max_batch}, DType::kI32, device)),
      count_(counted(max_batch + 1, device)),
      zero_(zeros({max_batch + 1}, DType::kI32, device)),
      no_ids_(empty({0}, DType::kI32, device)),
      no_values_(empty({0}, DType::kF32, device)),
      token_ids_(zeros({max_batch}, DType::kI32, device)) {
  for (const SamplingColumn& column : kSamplingColumns) {
    operands_.*column.tensor = zeros({max_batch}, column.dtype, device);
  }
  operands_.input_ids = zeros({max_batch}, DType::kI32, device);
  operands_.positions = zeros({max_batch}, DType::kI32, device);
  operands_.slot_mapping = zeros({max_batch}, DType::kI32, device);
  operands_.context_lens = zeros({max_batch}, DType::kI32, device);
  // Wide, and never read but where gather_rows has written.
  operands_.block_tables = empty({max_batch, table_width}, DType::kI32, device);
}

DecodeOperands StepBuffers::operands(std::int64_t batch) const {
  DecodeOperands result;
  for (const SamplingColumn& column : kSamplingColumns) {
    result.*column.tensor = first(operands_.*column.tensor, batch);
  }
  for (const Field<DecodeOperands>& field : kDecodeOperandsFields) {
    result.*field.tensor = first(operands_.*field.tensor, batch);
  }
  return result;
}

StepTensors StepBuffers::tensors(std::int64_t batch, std::int64_t block_size) const {
  const DecodeOperands operands = this->operands(batch);
  return {.input_ids = operands.input_ids,
          .positions = operands.positions,
          .slot_mapping = operands.slot_mapping,
          .cu_seqlens_q = first(count_, batch + 1),
          .context_lens = operands.context_lens,
          .logits_indices = first(count_, batch),
          .attention = PagedMetadata{operands.block_tables, block_size}};
}

SamplingInputs StepBuffers::sampling(std::int64_t batch) const {
  SamplingInputs inputs;
  for (const SamplingColumn& column : kSamplingColumns) {
    inputs.*column.tensor = first(operands_.*column.tensor, batch);
  }
  inputs.bias_ptr = first(zero_, batch + 1);
  inputs.bias_ids = no_ids_;
  inputs.bias_values = no_values_;
  return inputs;
}

std::size_t StepBuffers::size_bytes() const {
  std::size_t total = 0;
  for (const SamplingColumn& column : kSamplingColumns) {
    total += (operands_.*column.tensor).size_bytes();
  }
  for (const Field<DecodeOperands>& field : kDecodeOperandsFields) {
    total += (operands_.*field.tensor).size_bytes();
  }
  for (const Tensor* tensor : {&rows_, &count_, &zero_, &token_ids_}) {
    total += tensor->size_bytes();
  }
  return total;
}

}  // namespace stagegate

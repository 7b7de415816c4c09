#include "runner/runner.h"

#include <algorithm>
#include <array>
#include <utility>

#include "device/copy.h"
#include "device/memory.h"
#include "device/range.h"
#include "ops/checks.h"
#include "ops/fill_sampled/fill_sampled.h"

namespace stagegate {

namespace {

std::int64_t table_width(const RunnerLimits& limits) {
  if (limits.block_size == 0) return 0;
  return (limits.max_positions + limits.block_size - 1) / limits.block_size;
}

void collect(std::optional<RowChanges>& changes, std::vector<Tensor*>& operands) {
  if (!changes) return;
  for (const SamplingColumn& column : kSamplingColumns) {
    operands.push_back(&(*changes.*column.tensor));
  }
  for (const Field<RowChanges>& field : kRowChangesFields) {
    operands.push_back(&(*changes.*field.tensor));
  }
}

void collect(std::optional<SamplingInputs>& sampling, std::vector<Tensor*>& operands) {
  if (!sampling) return;
  for (const SamplingColumn& column : kSamplingColumns) {
    operands.push_back(&(*sampling.*column.tensor));
  }
  for (const Field<SamplingInputs>& field : kSamplingLists) {
    operands.push_back(&(*sampling.*field.tensor));
  }
}

void collect(StepTensors& t, std::vector<Tensor*>& operands) {
  operands.insert(operands.end(), {&t.input_ids, &t.positions, &t.slot_mapping, &t.cu_seqlens_q,
                                   &t.context_lens, &t.logits_indices});
  if (auto* paged = std::get_if<PagedMetadata>(&t.attention)) {
    operands.push_back(&paged->block_tables);
  } else {
    auto& csr = std::get<CsrMetadata>(t.attention);
    operands.insert(operands.end(), {&csr.used_slots, &csr.row_ptr, &csr.col_idx});
  }
}

// What a step may report, in the order in which the transport brings it.
constexpr std::array kOutputs = {&StepOutput::token_ids, &StepOutput::logprobs,
                                 &StepOutput::top_ids, &StepOutput::top_logprobs,
                                 &StepOutput::logits};

}  // namespace

Runner::Runner(DecoderWeights weights, const Context& context, const RunnerLimits& limits)
    : context_(context),
      limits_(limits),
      decoder_(std::move(weights), limits.max_positions),
      workspace_(decoder_.config(), limits.max_tokens, limits.max_rows, decoder_.weights().dtype(),
                 context.device),
      state_(limits.max_seqs, table_width(limits), limits.max_positions, context.device),
      buffers_(limits.max_seqs, table_width(limits), context.device),
      graphs_(context, limits.max_seqs),
      transport_(make_step_transport(context)) {
  SG_CHECK(ArgumentError, limits.max_seqs <= std::min(limits.max_tokens, limits.max_rows),
           "runner: ", limits.max_seqs, " sequences do not fit a step of ", limits.max_tokens,
           " tokens and ", limits.max_rows, " rows of logits");
}

std::size_t Runner::free_bytes() const { return stagegate::free_bytes(context_.device); }

std::size_t Runner::workspace_bytes() const {
  return workspace_.size_bytes() + buffers_.size_bytes();
}

void Runner::allocate_kv(std::int64_t num_slots, DType dtype) {
  SG_CHECK(ArgumentError, !kv_, "runner: its KV cache is allocated already");
  const DType computed = decoder_.weights().dtype();
  SG_CHECK(DTypeError, dtype == computed, "KV cache: dtype must be that of the weights, ",
           name_of(computed), ", got ", name_of(dtype));
  const DecoderConfig& config = decoder_.config();
  kv_.emplace(config.num_layers, num_slots, config.num_kv_heads, config.head_dim, dtype,
              context_.device);
}

void Runner::capture(const GraphRunner::Progress& progress) {
  SG_CHECK(ArgumentError, kv_, "capture: the runner has no KV cache yet");
  if (limits_.block_size == 0) return;
  batch_rows_.clear();
  const Tensor padded = empty({limits_.max_seqs}, DType::kI32, Device{});
  std::fill_n(padded.data<std::int32_t>(), limits_.max_seqs, -1);
  copy(padded, buffers_.rows(limits_.max_seqs));
  graphs_.capture([this](GraphRunner::Part part, std::int64_t batch) { queue_decode(part, batch); },
                  progress);
}

PendingStep Runner::step(ArrayStep step) {
  const Range range("step");
  const std::int64_t tokens = step.tensors.input_ids.numel();
  const std::int64_t rows = step.tensors.logits_indices.numel();
  SG_CHECK(ArgumentError, kv_, "step: the runner has no KV cache yet");
  SG_CHECK(ArgumentError, tokens > 0 && tokens <= workspace_.max_tokens(), "step: ", tokens,
           " tokens, the runner was planned for 1 to ", workspace_.max_tokens());
  SG_CHECK(ArgumentError, rows <= workspace_.max_rows(), "step: ", rows,
           " rows of logits, the runner was planned for ", workspace_.max_rows());
  {
    const Range operands("operands");
    std::vector<Tensor*> tensors;
    collect(step.tensors, tensors);
    collect(step.changes, tensors);
    collect(step.sampling, tensors);
    tensors.insert(tensors.end(), {&step.token_rows, &step.sample_rows, &step.sample_lens});
    transport_->upload("step operands", tensors);
  }
  if (step.changes) set_rows(context_, *step.changes, state_.rows());
  if (step.token_rows.defined()) {
    fill_sampled(context_, state_.rows().last_token, step.token_rows, step.tensors.input_ids);
  }
  const Tensor logits = decoder_.forward(context_, step.tensors, *kv_, workspace_);
  StepOutput output;
  if (step.sampling && rows > 0) {
    const Range sampling("sampling");
    if (step.sample_rows.defined()) {
      look_at_rows(*step.sampling, step.sample_rows, step.sample_lens);
    }
    output = sample_rows(logits, *step.sampling, step.wanted);
    if (step.sample_rows.defined()) {
      record_samples(context_, step.sample_rows, output.token_ids, step.sample_lens,
                     step.sampling->draw_index, state_.rows());
    }
  }
  if (step.wanted.logits) output.logits = logits;
  return pending(output);
}

PendingStep Runner::decode(DecodeStep step) {
  const Range range("step");
  const std::int64_t count = step.rows.numel();
  SG_CHECK(ArgumentError, kv_, "decode: the runner has no KV cache yet");
  SG_CHECK(ArgumentError, limits_.block_size > 0,
           "decode: the runner was planned without block tables; give it a block_size");
  SG_CHECK(ArgumentError, count > 0 && count <= limits_.max_seqs, "decode: ", count,
           " sequences, the runner was planned for 1 to ", limits_.max_seqs);
  SG_CHECK(DeviceError, step.rows.device().is_cpu(), "decode: rows come from the host, got ",
           step.rows.describe());
  const std::int64_t batch = graphs_.padded(count);
  {
    const Range operands("operands");
    upload_batch(step, batch);
  }
  if (step.changes) set_rows(context_, *step.changes, state_.rows());
  const auto part = step.sampling ? GraphRunner::Part::kLayers : GraphRunner::Part::kStep;
  graphs_.run(part, batch,
              [this](GraphRunner::Part of, std::int64_t size) { queue_decode(of, size); });
  const Tensor logits = workspace_.logits.slice(0, 0, count);
  StepOutput output;
  if (step.sampling) {
    const Range sampling("sampling");
    const Tensor rows = buffers_.rows(count);
    const Tensor context_lens = buffers_.operands(count).context_lens;
    look_at_rows(*step.sampling, rows, context_lens);
    output = sample_rows(logits, *step.sampling, step.wanted);
    record_samples(context_, rows, output.token_ids, context_lens, step.sampling->draw_index,
                   state_.rows());
  } else {
    output.token_ids = buffers_.token_ids(count);
  }
  if (step.wanted.logits) output.logits = logits;
  return pending(output);
}

void Runner::upload_batch(DecodeStep& step, std::int64_t batch) {
  checks::shape("decode", "rows", step.rows, {-1});
  std::vector<std::int32_t> wanted(static_cast<std::size_t>(batch), -1);
  std::copy_n(step.rows.data<std::int32_t>(), step.rows.numel(), wanted.begin());
  const bool is_new = wanted != batch_rows_;
  Tensor rows;
  if (is_new) {
    rows = empty({batch}, DType::kI32, Device{});
    std::ranges::copy(wanted, rows.data<std::int32_t>());
  }
  std::vector<Tensor*> operands = {&rows};
  collect(step.changes, operands);
  collect(step.sampling, operands);
  transport_->upload("step operands", operands);
  if (!is_new) return;
  batch_rows_.clear();
  transport_->copy(rows, buffers_.rows(batch));
  batch_rows_ = std::move(wanted);
}

void Runner::queue_decode(GraphRunner::Part part, std::int64_t batch) {
  gather_rows(context_, state_.rows(), buffers_.rows(batch), limits_.block_size,
              buffers_.operands(batch));
  const StepTensors tensors = buffers_.tensors(batch, limits_.block_size);
  const Tensor logits = decoder_.forward(context_, tensors, *kv_, workspace_);
  if (part == GraphRunner::Part::kLayers) return;
  const Range sampling("sampling");
  const Tensor rows = buffers_.rows(batch);
  SamplingInputs inputs = buffers_.sampling(batch);
  look_at_rows(inputs, rows, tensors.context_lens);
  const Tensor token_ids = buffers_.token_ids(batch);
  sample(context_, logits, inputs, {token_ids, Tensor(), Tensor(), Tensor()});
  record_samples(context_, rows, token_ids, tensors.context_lens, inputs.draw_index, state_.rows());
}

void Runner::look_at_rows(SamplingInputs& sampling, const Tensor& rows, const Tensor& lens) const {
  sampling.history_rows = rows;
  sampling.history_lens = lens;
  sampling.history_prompts = state_.rows().prompt_len;
  sampling.history_tokens = state_.rows().tokens;
}

StepOutput Runner::sample_rows(const Tensor& logits, const SamplingInputs& sampling,
                               const Wanted& wanted) {
  const std::int64_t rows = logits.dim(0);
  std::vector<StepTransport::Shaped> shapes = {{DType::kI32, {rows}}};
  if (wanted.num_logprobs >= 0) {
    shapes.push_back({DType::kF32, {rows}});
    shapes.push_back({DType::kI32, {rows, wanted.num_logprobs}});
    shapes.push_back({DType::kF32, {rows, wanted.num_logprobs}});
  }
  const std::vector<Tensor> results = transport_->results(shapes);
  StepOutput output;
  for (std::size_t i = 0; i < results.size(); ++i) output.*kOutputs[i] = results[i];
  sample(context_, logits, sampling,
         {output.token_ids, output.logprobs, output.top_ids, output.top_logprobs});
  return output;
}

PendingStep Runner::pending(const StepOutput& output) {
  const Range range("results");
  std::vector<Tensor> results;
  for (const auto field : kOutputs) {
    if ((output.*field).defined()) results.push_back(output.*field);
  }
  return PendingStep([finish = transport_->download("step results", results), output] {
    const Range waiting("wait");
    StepOutput arrived;
    auto next = finish();
    auto tensor = next.begin();
    for (const auto field : kOutputs) {
      if ((output.*field).defined()) arrived.*field = *tensor++;
    }
    return arrived;
  });
}

}  // namespace stagegate

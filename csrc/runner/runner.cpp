#include "runner/runner.h"

#include "device/copy.h"
#include "device/cuda/exchange.h"
#include "device/cuda/graph_cache.h"
#include "device/cuda/runtime.h"
#include "device/memory.h"
#include "device/range.h"
#include "ops/fill_drawn/fill_drawn.h"

namespace stagegate {

namespace {

// What the layers of a step read, besides weights and cache.
std::vector<Tensor*> operands_of(StepTensors& t) {
  std::vector<Tensor*> operands = {&t.input_ids,    &t.positions,    &t.slot_mapping,
                                   &t.cu_seqlens_q, &t.context_lens, &t.logits_indices};
  if (auto* paged = std::get_if<PagedMetadata>(&t.attention)) {
    operands.push_back(&paged->block_tables);
  } else {
    auto& csr = std::get<CsrMetadata>(t.attention);
    operands.insert(operands.end(), {&csr.used_slots, &csr.row_ptr, &csr.col_idx});
  }
  return operands;
}

// Every tensor a step brings from the host.
std::vector<Tensor*> operands_of(StepInput& input) {
  std::vector<Tensor*> operands = operands_of(input.tensors);
  if (input.sampling) {
    for (const SamplingOperand& operand : kSamplingOperands) {
      operands.push_back(&(*input.sampling.*operand.tensor));
    }
  }
  // Last, so that it moves no other: a graph knows the layers' operands by their addresses.
  operands.push_back(&input.drawn_rows);
  return operands;
}

}  // namespace

Runner::Runner(DecoderWeights weights, const Context& context, std::int64_t max_tokens,
               std::int64_t max_rows, std::int64_t max_positions)
    : context_(context),
      decoder_(std::move(weights), max_positions),
      workspace_(decoder_.config(), max_tokens, max_rows, decoder_.weights().dtype(),
                 context.device) {
  if constexpr (cuda::kEnabled) {
    if (context.device.is_cuda()) {
      exchange_ = std::make_shared<cuda::Exchange>(context.stream);
      graphs_ = std::make_shared<cuda::GraphCache>(context.stream);
    }
  }
}

std::size_t Runner::free_bytes() const { return stagegate::free_bytes(context_.device); }

void Runner::allocate_kv(std::int64_t num_slots, DType dtype) {
  SG_CHECK(ArgumentError, !kv_, "runner: its KV cache is allocated already");
  const DType computed = decoder_.weights().dtype();
  SG_CHECK(DTypeError, dtype == computed, "KV cache: dtype must be that of the weights, ",
           name_of(computed), ", got ", name_of(dtype));
  const DecoderConfig& config = decoder_.config();
  kv_.emplace(config.num_layers, num_slots, config.num_kv_heads, config.head_dim, dtype,
              context_.device);
}

PendingStep Runner::step(StepInput input) {
  const Range range("step");
  const std::int64_t tokens = input.tensors.input_ids.numel();
  const std::int64_t rows = input.tensors.logits_indices.numel();
  SG_CHECK(ArgumentError, kv_, "step: the runner has no KV cache yet");
  SG_CHECK(ArgumentError, tokens > 0 && tokens <= workspace_.max_tokens(), "step: ", tokens,
           " tokens, the runner was planned for 1 to ", workspace_.max_tokens());
  SG_CHECK(ArgumentError, rows <= workspace_.max_rows(), "step: ", rows,
           " rows of logits, the runner was planned for ", workspace_.max_rows());
  if constexpr (cuda::kEnabled) {
    const Range operands("operands");
    if (exchange_) exchange_->upload("step operands", operands_of(input));
  }
  if (input.drawn_rows.defined()) {
    SG_CHECK(ArgumentError, drawn_.defined(),
             "step: drawn_rows refers to a step that drew nothing");
    fill_drawn(context_, drawn_, input.drawn_rows, input.tensors.input_ids);
  }
  const Tensor logits = forward(input.tensors);

  // In the order of the fields of StepOutput; those nobody asked for are left out.
  std::vector<std::pair<DType, Shape>> wanted;
  const bool draws = input.sampling && rows > 0;
  const bool explains = draws && input.num_logprobs >= 0;
  if (draws) wanted.push_back({DType::kI32, {rows}});
  if (explains) {
    wanted.push_back({DType::kF32, {rows}});
    wanted.push_back({DType::kI32, {rows, input.num_logprobs}});
    wanted.push_back({DType::kF32, {rows, input.num_logprobs}});
  }
  if (input.return_logits) wanted.push_back({DType::kF32, logits.shape()});
  std::vector<Tensor> results = allocate_results(wanted);
  const auto arranged = [draws, explains](const std::vector<Tensor>& tensors) {
    StepOutput output;
    auto next = tensors.begin();
    if (draws) output.token_ids = *next++;
    if (explains) {
      output.logprobs = *next++;
      output.top_ids = *next++;
      output.top_logprobs = *next++;
    }
    if (next != tensors.end()) output.logits = *next;
    return output;
  };
  const StepOutput output = arranged(results);
  if (input.return_logits) copy(logits, output.logits);
  if (draws) {
    const Range sampling("sampling");
    sample(context_, logits, *input.sampling,
           {output.token_ids, output.logprobs, output.top_ids, output.top_logprobs});
  }
  drawn_ = output.token_ids;
  if constexpr (cuda::kEnabled) {
    const Range results_back("results");
    if (exchange_) {
      return PendingStep(
          [exchange = exchange_, download = exchange_->download("step results"), arranged] {
            const Range waiting("wait");
            return arranged(exchange->wait(*download));
          });
    }
  }
  return PendingStep([output] { return output; });
}

Tensor Runner::forward(StepTensors& step) {
  if constexpr (cuda::kEnabled) {
    // A decode has the same shapes as the one before it until a sequence comes or goes.
    const std::int64_t tokens = step.input_ids.numel();
    const std::int64_t rows = step.logits_indices.numel();
    if (graphs_ && step.context_lens.numel() == tokens && rows == tokens) {
      const auto* paged = std::get_if<PagedMetadata>(&step.attention);
      cuda::GraphCache::Key key = {paged != nullptr ? paged->block_size : 0};
      for (const Tensor* operand : operands_of(step)) {
        key.push_back(operand->numel());
        key.push_back(
            static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(operand->raw_data())));
      }
      graphs_->run(std::move(key), [&] { decoder_.forward(context_, step, *kv_, workspace_); });
      return workspace_.logits.slice(0, 0, rows);
    }
  }
  return decoder_.forward(context_, step, *kv_, workspace_);
}

std::vector<Tensor> Runner::allocate_results(const std::vector<std::pair<DType, Shape>>& wanted) {
  if constexpr (cuda::kEnabled) {
    if (exchange_) return exchange_->results(wanted);
  }
  std::vector<Tensor> results;
  for (const auto& [dtype, shape] : wanted) results.push_back(empty(shape, dtype, Device{}));
  return results;
}

}  // namespace stagegate

#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "device/context.h"
#include "device/cuda/runtime.h"
#include "device/ledger.h"

// The forms of a block operator: kernels that compute a whole block at once. Each operator has one
// table of them in forms.cpp. What no form takes is composed of the primitive operators.
namespace stagegate {

// What the choice of a form depends on: shapes and addresses, never values in memory, as a captured
// graph must.
struct BlockProblem {
  DeviceType device;
  int capability;       // of a GPU, as Stream::compute_capability(); 0 on the CPU
  int multiprocessors;  // likewise
  LinearBackend backend;
  bool deterministic;
  DType dtype;            // of activations, weights and cache
  std::int64_t rows;      // of activations
  std::int64_t width;     // rows of the weight
  std::int64_t depth;     // columns of the weight
  std::int64_t head_dim;  // of q, k and v in attention_input; 0 elsewhere
  bool has_head_norms;    // norms over the heads of q and k
  // Bytes that every operand begins at a multiple of: a power of two, at most kBlockAlignment.
  std::uint32_t alignment;

  auto operator<=>(const BlockProblem&) const = default;
};

inline constexpr std::uint32_t kBlockAlignment = 16;

// The largest power of two, up to kBlockAlignment, at a multiple of which all defined tensors
// begin.
std::uint32_t block_alignment(std::initializer_list<const Tensor*> tensors);

// The part of a problem that all operators have alike.
BlockProblem describe_block(const Context& context, const Tensor& activations, const Tensor& weight,
                            std::uint32_t alignment);

constexpr unsigned dtype_bit(DType dtype) { return 1u << static_cast<unsigned>(dtype); }
inline constexpr unsigned k16BitTypes = dtype_bit(DType::kF16) | dtype_bit(DType::kBF16);

// What a form takes, whatever it computes.
struct FormTraits {
  const char* name;
  int capability;   // the only one that has its instructions
  unsigned dtypes;  // dtype_bit of each
  std::int64_t least_rows;
  std::int64_t most_rows;
  // A row of the result depends neither on the other rows nor on their number, also beyond
  // most_rows: the sums are those of the composition. Else the form is not for deterministic
  // contexts.
  bool deterministic;
  bool (*fits)(const BlockProblem& problem);  // limits on dimensions
};

// Whether a form serves a problem.
bool takes(const FormTraits& form, const BlockProblem& problem);

template <typename Call>
struct BlockForm {
  FormTraits traits;
  // Null in a build without the device.
  void (*run)(const Context& context, const Call& call);
};

// Whether one of several does.
template <typename Call>
bool any_takes(std::span<const BlockForm<Call>> forms, const BlockProblem& problem) {
  return std::any_of(forms.begin(), forms.end(), [&](const BlockForm<Call>& form) {
    return form.run != nullptr && takes(form.traits, problem);
  });
}

namespace cuda {

// A form by its place in the table of its operator.
struct FormCandidate {
  int form;
  const char* name;
};

// The fastest of several forms for problems like this one: timed once and kept
// (device/cuda/timings.h) where the stream can be timed, else the first. op: a literal. rehearse:
// queues a form on operands that may be written any number of times.
int fastest_form(const Context& context, const char* op, const BlockProblem& problem,
                 const std::vector<FormCandidate>& candidates,
                 const std::function<void(int)>& rehearse);

}  // namespace cuda

// Runs the form that serves a call, the fastest where several do. False where none does; nothing
// has run then. op: a literal, which enters the ledger.
template <typename Call>
bool run_form(const char* op, const Context& context, std::span<const BlockForm<Call>> forms,
              const BlockProblem& problem, const Call& call) {
  if constexpr (cuda::kEnabled) {
    std::vector<cuda::FormCandidate> candidates;
    for (std::size_t i = 0; i < forms.size(); ++i) {
      if (forms[i].run != nullptr && takes(forms[i].traits, problem)) {
        candidates.push_back({static_cast<int>(i), forms[i].traits.name});
      }
    }
    if (candidates.empty()) return false;
    const auto run = [&](int form, const Call& operands) {
      forms[static_cast<std::size_t>(form)].run(context, operands);
    };
    const int chosen = candidates.size() == 1
                           ? candidates.front().form
                           : cuda::fastest_form(context, op, problem, candidates,
                                                [&](int form) { run(form, call.rehearsal()); });
    const Dispatch dispatch(op, context.device);
    run(chosen, call);
    return true;
  }
  return false;
}

}  // namespace stagegate

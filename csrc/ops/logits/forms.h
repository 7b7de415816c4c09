#pragma once

#include <span>

#include "ops/block_form.h"
#include "ops/logits/logits.h"

namespace stagegate {

// The operands of logits, after its checks.
struct LogitsCall {
  const Tensor& residual;
  const Tensor& indices;
  const Tensor& norm;
  float eps;
  const LinearWeight& head;
  const Tensor& rows;
  const Tensor& out;

  // The same operands, which may be written any number of times.
  LogitsCall rehearsal() const { return *this; }
};

// In order of preference where the time cannot be measured.
std::span<const BlockForm<LogitsCall>> logits_forms();

namespace cuda {

// Up to 16 rows on Hopper, in one kernel that reads the weight at the speed of memory.
void logits_narrow(const Context& context, const LogitsCall& call);

}  // namespace cuda

BlockProblem describe(const Context& context, const LogitsCall& call);

}  // namespace stagegate

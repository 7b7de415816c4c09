#include <variant>

#include "ops/attention/kernels/cpu_attend.h"
#include "ops/attention/kernels/kernels.h"

namespace stagegate::cpu {

void attention(const Context& context, const AttentionCall& call) {
  std::visit([&](const auto& form) { attend_form(context, call, form); }, call.form);
}

}  // namespace stagegate::cpu

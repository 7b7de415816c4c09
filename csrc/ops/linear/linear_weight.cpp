#include "ops/linear/linear_weight.h"

#include "ops/checks.h"

namespace stagegate {

const char* name_of(Shard shard) {
  switch (shard) {
    case Shard::kReplicated:
      return "replicated";
    case Shard::kColumn:
      return "column";
    case Shard::kRow:
      return "row";
    case Shard::kVocabulary:
      return "vocabulary";
  }
  return "unknown";
}

namespace checks {

void linear_weight(std::string_view op, const LinearNames& names, const Context& context,
                   const LinearWeight& weight, std::int64_t rows, std::int64_t columns,
                   DType dtype) {
  checks::shape(op, names.data, weight.data, {rows, columns});
  checks::dtype(op, names.data, weight.data, dtype);
  checks::dense(op, context, {{names.data, &weight.data}});
  checks::unscaled(op, names.data, weight.scale);
  if (!weight.bias.defined()) return;
  checks::shape(op, names.bias, weight.bias, {rows});
  checks::dtype(op, names.bias, weight.bias, dtype);
  checks::dense(op, context, {{names.bias, &weight.bias}});
}

}  // namespace checks

}  // namespace stagegate

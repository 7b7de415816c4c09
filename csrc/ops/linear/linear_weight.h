#pragma once

#include <string_view>

#include "core/tensor.h"
#include "device/context.h"

namespace stagegate {

// How a weight divides among the ranks of tensor parallelism. A weight of several parts, such as
// the merged q, k and v, divides part by part.
enum class Shard {
  kReplicated,  // not at all: every rank holds it
  kColumn,      // by rows, so that a rank has some columns of the result
  kRow,         // by columns, so that a rank's result is one term of a sum
  kVocabulary,  // by rows, a row a token
};

// "replicated", "column", "row" or "vocabulary".
const char* name_of(Shard shard);

struct LinearWeight {
  Tensor data;   // float [N, K]
  Tensor scale;  // what quantised data is multiplied with; undefined: data is used as it is
  Tensor bias;   // same dtype [N]; undefined for none
  Shard shard = Shard::kReplicated;
};

namespace checks {

// The names under which an operator has the tensors of a weight.
struct LinearNames {
  std::string_view data;
  std::string_view bias;
};

// A weight [rows, columns] of a dtype: what every operator that multiplies by one asks of it.
// Throws the typed error that names the tensor, and DTypeError for a weight with a scale.
void linear_weight(std::string_view op, const LinearNames& names, const Context& context,
                   const LinearWeight& weight, std::int64_t rows, std::int64_t columns,
                   DType dtype);

}  // namespace checks

}  // namespace stagegate

#include "ops/embedding/embedding_faults.h"

#include "core/check.h"

namespace stagegate {

namespace {

std::string sentence(const Fault& f) {
  switch (static_cast<EmbeddingFault>(f.code)) {
    case EmbeddingFault::kId:
      return message("embedding: id ", f.a, " at position ", f.b, " is outside a table of ", f.c,
                     " rows");
  }
  return "embedding: a fault it has no name for";
}

const FaultSentences entered(first_fault("embedding"), &sentence);

}  // namespace

}  // namespace stagegate

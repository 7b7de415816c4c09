// Who puts a fault into words.

#include "device/fault.h"

#include <string>

#include "check.h"
#include "ops/attention/faults.h"
#include "ops/embedding/embedding_faults.h"
#include "ops/sampling/sampling_faults.h"

using stagegate::AttentionFault;
using stagegate::describe;
using stagegate::EmbeddingFault;
using stagegate::Fault;
using stagegate::make_fault;
using stagegate::SamplingFault;

int main() {
  // As a kernel reports them; the tests of operators compare what the CPU says.
  CHECK(describe(make_fault(EmbeddingFault::kId, 9, 2, 8)) ==
        "embedding: id 9 at position 2 is outside a table of 8 rows");
  CHECK(describe(make_fault(AttentionFault::kBlock, -1, 3, 16, 5)) ==
        "paged_attention: block_tables[3, 5] = -1 is outside a cache of 16 blocks");
  CHECK(describe(make_fault(SamplingFault::kParameter, 4, 0, 0, -1)) ==
        "sample: temperature of row 4 must be 0 or more, got -1");
  CHECK(describe(Fault{.code = 7, .a = 0, .b = 0, .c = 0, .value = 0}).find("fault 7") !=
        std::string::npos);
  // Operators of this test, which enter here.
  constexpr stagegate::FaultCode kFirst = stagegate::first_fault("a native test");
  const stagegate::FaultSentences entered(
      kFirst, [](const Fault& fault) { return "number " + std::to_string(fault.a); });
  CHECK(describe(make_fault(kFirst, 11)) == "number 11");
  CHECK(describe(make_fault(kFirst + 200, 12)) == "number 12");
}

#include <algorithm>
#include <string>
#include <tuple>

#include "device/cuda/autotune.h"
#include "device/cuda/stream.h"
#include "ops/block_form.h"

namespace stagegate::cuda {

namespace {

// Where rows are many, those near them take their form: a prompt may have any length, and timing
// takes some milliseconds.
std::int64_t rounded_rows(std::int64_t rows) { return rows <= 16 ? rows : (rows + 15) / 16 * 16; }

}  // namespace

int fastest_form(const Context& context, const char* op, const BlockProblem& problem,
                 const std::vector<int>& candidates, const std::function<void(int)>& rehearse) {
  using Key = std::tuple<int, std::string, BlockProblem>;
  static TimingCache<Key, int> found;
  BlockProblem kind = problem;
  kind.rows = rounded_rows(problem.rows);
  const Contest<int> contest{
      .candidates = [&] { return candidates; },
      .takes = [&](int form) { return std::ranges::find(candidates, form) != candidates.end(); },
      .time = timed_on<int>(*context.stream, [&](int form) {
        rehearse(form);
        return true;
      })};
  return found.fastest({context.stream->device_index(), op, kind}, contest)
      .value_or(candidates.front());
}

}  // namespace stagegate::cuda

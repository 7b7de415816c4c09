#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "device/cuda/autotune.h"
#include "device/cuda/stream.h"
#include "device/cuda/timings.h"
#include "ops/block_form.h"

namespace stagegate::cuda {

namespace {

// Device, operator and problem.
using Key = std::tuple<int, std::string, BlockProblem>;
// By the name of a form: its place in the table may be another in the next build.
using Found = TimingCache<Key, std::string>;

// Where rows are many, those near them take their form: a prompt may have any length, and timing
// takes some milliseconds.
std::int64_t rounded_rows(std::int64_t rows) { return rows <= 16 ? rows : (rows + 15) / 16 * 16; }

std::string text_of(const Key& key) {
  const auto& [device, op, p] = key;
  return message(op, " rows=", p.rows, " width=", p.width, " depth=", p.depth,
                 " head_dim=", p.head_dim, p.has_head_norms ? " head norms " : " ",
                 name_of(p.dtype), p.deterministic ? " deterministic" : "",
                 " aligned=", p.alignment);
}

Found& found_forms() {
  static Found found(kept_on_disk(TimingText<Key, std::string>{
      .device_index = [](const Key& key) { return std::get<0>(key); },
      .key = text_of,
      .winner = [](const std::string& name) { return name; },
      .candidate = [](const std::string& name) { return std::optional(name); },
  }));
  return found;
}

}  // namespace

int fastest_form(const Context& context, const char* op, const BlockProblem& problem,
                 const std::vector<FormCandidate>& candidates,
                 const std::function<void(int)>& rehearse) {
  const auto named = [&](const std::string& name) {
    return std::ranges::find_if(candidates, [&](const auto& one) { return one.name == name; });
  };
  BlockProblem kind = problem;
  kind.rows = rounded_rows(problem.rows);
  const Contest<std::string> contest{
      .candidates =
          [&] {
            std::vector<std::string> names;
            for (const FormCandidate& candidate : candidates) names.emplace_back(candidate.name);
            return names;
          },
      .takes = [&](const std::string& name) { return named(name) != candidates.end(); },
      .time = timed_on<std::string>(*context.stream, [&](const std::string& name) {
        rehearse(named(name)->form);
        return true;
      })};
  const auto fastest = found_forms().fastest({context.stream->device_index(), op, kind}, contest);
  return fastest ? named(*fastest)->form : candidates.front().form;
}

}  // namespace stagegate::cuda

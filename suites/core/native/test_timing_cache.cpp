// Which candidate a timing cache keeps, by clocks that are made up.

#include "device/cuda/timing_cache.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "check.h"

namespace {

using Cache = stagegate::cuda::TimingCache<int, char>;
using Contest = stagegate::cuda::Contest<char>;
using Memory = stagegate::cuda::TimingMemory<int, char>;

// Candidates by name, with what each time of it takes; one without times does not run.
struct Clock {
  std::map<char, std::vector<float>> times;
  std::map<char, std::size_t> runs;
  int asked = 0;

  Contest contest(std::vector<char> names) {
    return {
        .candidates =
            [this, names] {
              ++asked;
              return names;
            },
        .takes = [](char) { return true; },
        .time = [this](char name) -> std::optional<float> {
          const std::vector<float>& all = times[name];
          const std::size_t run = runs[name]++;
          return run < all.size() ? std::optional(all[run]) : std::nullopt;
        },
    };
  }
};

void the_fastest_is_kept() {
  Clock clock{{{'a', {1, 5, 5, 5, 5, 5}}, {'b', {90, 4, 9, 4, 4, 9}}, {'c', {1, 9}}}, {}};
  Cache cache;
  CHECK(cache.fastest(7, clock.contest({'a', 'b', 'c'})) == 'b');  // by the median
  CHECK(clock.runs['a'] == 6 && clock.runs['b'] == 6);
  CHECK(clock.runs['c'] == 2);  // hopeless after the first time that counts
  CHECK(cache.fastest(7, clock.contest({'a'})) == 'b' && clock.asked == 1);
  CHECK(cache.fastest(8, clock.contest({'d'})) == std::nullopt);  // another key; d does not run
  CHECK(cache.fastest(8, clock.contest({'a'})) == std::nullopt && clock.asked == 2);
}

void candidates_take_turns() {
  std::string order;
  Contest contest{
      .candidates = [] { return std::vector<char>{'a', 'b'}; },
      .takes = [](char) { return true; },
      .time = [&](char name) -> std::optional<float> {
        order += name;
        return 1.0f;
      },
  };
  Cache cache;
  CHECK(cache.fastest(0, contest) == 'a');  // of equals the more promising
  CHECK(order == "aabbabababab");
}

void one_that_fails_on_the_way_is_out() {
  Clock clock{{{'a', {1, 1, 1}}, {'b', {1.2f, 1.2f, 1.2f, 1.2f, 1.2f, 1.2f}}}, {}};
  Cache cache;
  CHECK(cache.fastest(0, clock.contest({'a', 'b'})) == 'b');
}

void a_memory_outlives_a_cache() {
  std::map<int, char> kept;
  const Memory memory{
      .recall = [&](int key) -> std::optional<char> {
        return kept.contains(key) ? std::optional(kept[key]) : std::nullopt;
      },
      .keep = [&](int key, char name) { kept[key] = name; },
  };
  Clock clock{{{'a', {2, 2, 2, 2, 2, 2}}, {'b', {1, 1, 1, 1, 1, 1}}}, {}};
  CHECK(Cache(memory).fastest(3, clock.contest({'a', 'b'})) == 'b');
  CHECK(kept[3] == 'b');
  Cache second(memory);
  Contest captured = clock.contest({'a', 'b'});
  captured.time = nullptr;
  CHECK(second.fastest(3, captured) == 'b');  // without a clock, without asking for candidates
  CHECK(clock.asked == 1);
  // One that was kept and does not take the call is settled again.
  clock.runs.clear();
  Contest other = clock.contest({'a'});
  other.takes = [](char name) { return name == 'a'; };
  CHECK(Cache(memory).fastest(3, other) == 'a');
  CHECK(kept[3] == 'a');
  // What a rule chose, or nothing, is not kept.
  Cache third(memory);
  CHECK(third.first(4, clock.contest({'a'})) == 'a');
  CHECK(third.fastest(5, clock.contest({})) == std::nullopt);
  CHECK(kept.size() == 1);
}

void one_that_does_not_take_a_call_is_looked_for_again() {
  Clock clock{{{'a', {1, 1, 1, 1, 1, 1}}, {'b', {2, 2, 2, 2, 2, 2}}}, {}};
  Cache cache;
  CHECK(cache.fastest(0, clock.contest({'a', 'b'})) == 'a');
  Contest other = clock.contest({'b'});
  clock.runs.clear();
  other.takes = [](char name) { return name == 'b'; };
  CHECK(cache.fastest(0, other) == 'b');
  CHECK(cache.fastest(0, clock.contest({'a'})) == 'b');
}

void without_a_clock_the_first_serves_and_is_not_kept() {
  Clock clock{{{'a', {2, 2, 2, 2, 2, 2}}, {'b', {1, 1, 1, 1, 1, 1}}}, {}};
  Cache cache;
  Contest captured = clock.contest({'a', 'b'});
  captured.time = nullptr;
  CHECK(cache.fastest(0, captured) == 'a');
  CHECK(cache.fastest(0, clock.contest({'a', 'b'})) == 'b');
  CHECK(cache.fastest(0, captured) == 'b');
}

void by_rule_the_first_that_fits_stays() {
  Clock clock;
  Cache cache;
  Contest contest = clock.contest({'a', 'b', 'c'});
  contest.takes = [](char name) { return name != 'a'; };
  CHECK(cache.first(0, contest) == 'b');
  contest.takes = [](char name) { return name == 'c'; };
  CHECK(cache.first(0, contest) == 'b');
  CHECK(cache.first(1, contest) == 'c');
  CHECK(clock.runs.empty());
}

}  // namespace

int main() {
  the_fastest_is_kept();
  candidates_take_turns();
  one_that_fails_on_the_way_is_out();
  a_memory_outlives_a_cache();
  one_that_does_not_take_a_call_is_looked_for_again();
  without_a_clock_the_first_serves_and_is_not_kept();
  by_rule_the_first_that_fits_stays();
}

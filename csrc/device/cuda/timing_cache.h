#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace stagegate::cuda {

// What a timing cache asks of the kernels that could serve one call.
template <typename Candidate>
struct Contest {
  // The most promising first; may be empty.
  std::function<std::vector<Candidate>()> candidates;
  // Whether a candidate that won for another call of the key serves this one.
  std::function<bool(const Candidate&)> takes;
  // Runs a candidate once and returns how long it took, or nothing when it does not run. No
  // function where nothing can be timed.
  std::function<std::optional<float>(const Candidate&)> time;
};

// What outlives a cache: winners of other processes. Neither function: nothing does.
template <typename Key, typename Candidate>
struct TimingMemory {
  std::function<std::optional<Candidate>(const Key&)> recall;
  std::function<void(const Key&, const Candidate&)> keep;
};

// Which of several kernels serves calls of one kind, by key. Each key is settled once, by timing
// its candidates or by rule, and kept as long as the cache lives; what was timed, also in its
// memory. Threads may share it: one is settled at a time, so that none is timed beside another.
template <typename Key, typename Candidate>
class TimingCache {
 public:
  // How often each candidate is timed, in turns: what disturbs the device for a while disturbs all.
  // The median counts. A run before the first loads the kernel.
  static constexpr int kTimings = 5;
  // A candidate that is this many times slower than the best is not timed again: a batch waits.
  static constexpr float kHopeless = 1.25f;

  explicit TimingCache(TimingMemory<Key, Candidate> memory = {}) : memory_(std::move(memory)) {}

  // The fastest candidate; none where there are no candidates, or none runs. One that was kept and
  // does not take this call is looked for again. Where nothing can be timed, the first candidate,
  // which is not kept.
  std::optional<Candidate> fastest(const Key& key, const Contest<Candidate>& contest) {
    const std::lock_guard lock(mutex_);
    const auto known = kept_.find(key);
    if (known != kept_.end() && (!known->second || contest.takes(*known->second))) {
      return known->second;
    }
    if (known == kept_.end() && memory_.recall) {
      const std::optional<Candidate> recalled = memory_.recall(key);
      if (recalled && contest.takes(*recalled)) return kept_.emplace(key, recalled).first->second;
    }
    const std::vector<Candidate> candidates = contest.candidates();
    if (!candidates.empty() && !contest.time) return candidates.front();
    const std::optional<Candidate> best = best_of(candidates, contest);
    if (best && memory_.keep) memory_.keep(key, *best);
    return kept_.insert_or_assign(key, best).first->second;
  }

  // The first candidate that takes the first call of a key: no clock decides, and the key keeps it,
  // also for calls it does not take. Nothing outlives the cache.
  std::optional<Candidate> first(const Key& key, const Contest<Candidate>& contest) {
    const std::lock_guard lock(mutex_);
    const auto known = kept_.find(key);
    if (known != kept_.end()) return known->second;
    std::optional<Candidate> chosen;
    for (const Candidate& candidate : contest.candidates()) {
      if (!contest.takes(candidate)) continue;
      chosen = candidate;
      break;
    }
    return kept_.emplace(key, chosen).first->second;
  }

 private:
  struct Entrant {
    const Candidate* candidate;
    std::vector<float> times;

    float median() {
      const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
      std::nth_element(times.begin(), middle, times.end());
      return *middle;
    }
  };

  static std::optional<Candidate> best_of(const std::vector<Candidate>& candidates,
                                          const Contest<Candidate>& contest) {
    std::vector<Entrant> entrants;
    float shortest = std::numeric_limits<float>::infinity();
    for (const Candidate& candidate : candidates) {
      if (!contest.time(candidate)) continue;
      const std::optional<float> taken = contest.time(candidate);
      if (!taken) continue;
      entrants.push_back({&candidate, {*taken}});
      shortest = std::min(shortest, *taken);
    }
    std::erase_if(entrants,
                  [&](const Entrant& entrant) { return entrant.times[0] > kHopeless * shortest; });
    for (int i = 1; i < kTimings && entrants.size() > 1; ++i) {
      std::erase_if(entrants, [&](Entrant& entrant) {
        const std::optional<float> taken = contest.time(*entrant.candidate);
        if (taken) entrant.times.push_back(*taken);
        return !taken;
      });
    }
    std::optional<Candidate> best;
    float least = std::numeric_limits<float>::infinity();
    for (Entrant& entrant : entrants) {
      const float time = entrant.median();
      if (time >= least) continue;
      least = time;
      best = *entrant.candidate;
    }
    return best;
  }

  std::mutex mutex_;
  std::map<Key, std::optional<Candidate>> kept_;
  TimingMemory<Key, Candidate> memory_;
};

}  // namespace stagegate::cuda

#pragma once

#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
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

// Which of several kernels serves calls of one kind, by key. Each key is settled once, by timing
// its candidates or by rule, and kept as long as the cache lives. Threads may share it: one is
// settled at a time, so that none is timed beside another.
template <typename Key, typename Candidate>
class TimingCache {
 public:
  // How often each candidate is timed. The first time does not count: it loads the kernel.
  static constexpr int kTimings = 5;
  // A candidate that is this many times slower than the best is not timed again: a batch waits.
  static constexpr float kHopeless = 1.5f;

  // The fastest candidate; none where there are no candidates, or none runs. One that was kept and
  // does not take this call is looked for again. Where nothing can be timed, the first candidate,
  // which is not kept.
  std::optional<Candidate> fastest(const Key& key, const Contest<Candidate>& contest) {
    const std::lock_guard lock(mutex_);
    const auto known = kept_.find(key);
    if (known != kept_.end() && (!known->second || contest.takes(*known->second))) {
      return known->second;
    }
    const std::vector<Candidate> candidates = contest.candidates();
    if (!candidates.empty() && !contest.time) return candidates.front();
    return kept_.insert_or_assign(key, best_of(candidates, contest)).first->second;
  }

  // The first candidate that takes the first call of a key: no clock decides, and the key keeps it,
  // also for calls it does not take.
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
  static std::optional<Candidate> best_of(const std::vector<Candidate>& candidates,
                                          const Contest<Candidate>& contest) {
    std::optional<Candidate> best;
    float shortest = std::numeric_limits<float>::infinity();
    for (const Candidate& candidate : candidates) {
      for (int i = 0; i < kTimings; ++i) {
        const std::optional<float> taken = contest.time(candidate);
        if (!taken) break;
        if (i == 0) continue;
        if (*taken < shortest) {
          shortest = *taken;
          best = candidate;
        }
        if (*taken > kHopeless * shortest) break;
      }
    }
    return best;
  }

  std::mutex mutex_;
  std::map<Key, std::optional<Candidate>> kept_;
};

}  // namespace stagegate::cuda

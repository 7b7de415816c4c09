#pragma once

#include <functional>
#include <optional>
#include <string>

#include "device/cuda/timing_cache.h"
#include "device/timing_store.h"

namespace stagegate::cuda {

// Raised whenever a kept winner may be wrong or slow for this code: a contest has new candidates,
// a key or the text of a winner means something else, or a candidate became faster or slower.
inline constexpr int kTimingsRevision = 3;

// The winners kept for a device: one store for all of a process, whose subject is the device with
// the versions of driver, cuBLASLt and kTimingsRevision.
TimingStore& timings_of(int device_index);

// How keys and winners of one kind of contest are written down.
template <typename Key, typename Candidate>
struct TimingText {
  std::function<int(const Key&)> device_index;
  std::function<std::string(const Key&)> key;  // begins with what the contest is about
  std::function<std::string(const Candidate&)> winner;
  // Nothing for a text that names no candidate.
  std::function<std::optional<Candidate>(const std::string&)> candidate;
};

// A memory that outlives the process.
template <typename Key, typename Candidate>
TimingMemory<Key, Candidate> kept_on_disk(TimingText<Key, Candidate> text) {
  return {
      .recall = [text](const Key& key) -> std::optional<Candidate> {
        const auto found = timings_of(text.device_index(key)).find(text.key(key));
        return found ? text.candidate(*found) : std::nullopt;
      },
      .keep =
          [text](const Key& key, const Candidate& winner) {
            timings_of(text.device_index(key)).keep(text.key(key), text.winner(winner));
          },
  };
}

}  // namespace stagegate::cuda

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "core/storage.h"
#include "device/cuda/handles.h"
#include "device/cuda/timing_cache.h"

namespace stagegate::cuda {

class Stream;

// A clock for what is queued on a stream, by events. Before each time the caches are flushed: in a
// model other layers run between two uses of a weight, which comes from memory then.
class StreamClock {
 public:
  explicit StreamClock(Stream& stream);

  // Calls queue() and waits. The milliseconds its work took on the device, or nothing when it
  // returns false because it queued none.
  std::optional<float> time(const std::function<bool()>& queue);

 private:
  Stream& stream_;
  std::shared_ptr<Storage> flushed_;  // null where there is no memory to spare
  EventHandle start_;
  EventHandle stop_;
};

bool can_time(const Stream& stream);

// The `time` of a contest whose candidates are queued on a stream: queue(candidate) returns false
// when it cannot. While a graph is captured nothing can be timed.
template <typename Candidate, typename Queue>
std::function<std::optional<float>(const Candidate&)> timed_on(Stream& stream, Queue queue) {
  if (!can_time(stream)) return nullptr;
  return [&stream, queue = std::move(queue),
          clock = std::shared_ptr<StreamClock>()](const Candidate& candidate) mutable {
    if (clock == nullptr) clock = std::make_shared<StreamClock>(stream);
    return clock->time([&] { return queue(candidate); });
  };
}

}  // namespace stagegate::cuda

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "device/ledger.h"

struct CUgraphExec_st;  // what a cudaGraphExec_t points to
struct CUstream_st;     // and a cudaStream_t

namespace stagegate::cuda {

class Stream;

// Replays what is queued on a stream again and again as CUDA graphs: one launch instead of one a
// kernel, whose few microseconds each would else be most of a small step.
class GraphCache {
 public:
  // All that the queued work depends on besides the content of memory: shapes and addresses.
  using Key = std::vector<std::int64_t>;

  explicit GraphCache(std::shared_ptr<Stream> stream);
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Queues what `queue` queues: kernels on this stream and nothing else, the same for equal keys.
  // It is called the first two times of a key, to find algorithms and memory and then to be
  // captured; after that its graph is launched. A graph there is no memory for is done without. The
  // ledger of the thread sees no difference.
  void run(Key key, const std::function<void()>& queue);

 private:
  struct Entry {
    CUgraphExec_st* graph = nullptr;  // null until the second time
    Ledger dispatched;
    std::int64_t last_used = 0;
  };

  Key with_scratch(Key key) const;
  void capture(Entry& entry, const std::function<void()>& queue);
  void make_room();

  std::shared_ptr<Stream> stream_;
  CUstream_st* capture_stream_ = nullptr;
  std::map<Key, Entry> entries_;
  std::int64_t runs_ = 0;
};

}  // namespace stagegate::cuda

#pragma once

#include <cstdint>

namespace stagegate {

// A named stretch of a thread's time that a profiler shows above the kernels it queued (NVTX). It
// costs a test of a pointer while none is attached, and nothing in a build without CUDA.
#ifdef STAGEGATE_NVTX
class Range {
 public:
  // name: a literal. index: shown beside it, of a layer for example.
  explicit Range(const char* name);
  Range(const char* name, std::int64_t index);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};
#else
class Range {
 public:
  explicit Range(const char*) {}
  Range(const char*, std::int64_t) {}
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};
#endif

}  // namespace stagegate

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/device.h"
#include "device/range.h"

namespace stagegate {

// What a thread had the core do: every operator that ran and where, every copy that crossed between
// host and device, and under which name. A thread that keeps no ledger pays one test of a pointer.
class Ledger {
 public:
  struct Copies {
    std::int64_t count = 0;
    std::size_t size_bytes = 0;
  };

  // Operator and device name to how often it was dispatched there.
  const std::map<std::pair<std::string, std::string>, std::int64_t>& dispatches() const {
    return dispatches_;
  }
  // What was copied and its direction ("host to device", "device to host") to how much.
  const std::map<std::pair<std::string, std::string>, Copies>& copies() const { return copies_; }

  void add_dispatch(std::string_view op, Device device);
  void add_dispatches(const Ledger& other);
  void add_copy(std::string_view what, Device source, Device destination, std::size_t size_bytes);

 private:
  std::map<std::pair<std::string, std::string>, std::int64_t> dispatches_;
  std::map<std::pair<std::string, std::string>, Copies> copies_;
};

// Makes a ledger the one of the calling thread, nullptr for none; returns the one it had. The
// caller keeps it alive until it is exchanged again.
Ledger* exchange_ledger(Ledger* ledger);

// Enter into the ledger of the calling thread, if it keeps one.
void record_dispatches(const Ledger& ledger);
void record_copy(std::string_view what, Device source, Device destination, std::size_t size_bytes);

// Stands in an operator from the end of its checks to its own end: enters it into the ledger of the
// calling thread, if it keeps one, and is its range in a profiler. op: a literal.
class Dispatch {
 public:
  Dispatch(const char* op, Device device);

 private:
  Range range_;
};

}  // namespace stagegate

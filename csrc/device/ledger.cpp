#include "device/ledger.h"

#include <utility>

#include "core/check.h"

namespace stagegate {

namespace {

thread_local Ledger* current = nullptr;

}  // namespace

void Ledger::add_dispatch(std::string_view op, Device device) {
  ++dispatches_[{std::string(op), device.name()}];
}

void Ledger::add_dispatches(const Ledger& other) {
  for (const auto& [where, count] : other.dispatches_) dispatches_[where] += count;
}

void Ledger::add_copy(std::string_view what, Device source, Device destination,
                      std::size_t size_bytes) {
  const auto side = [](Device device) { return device.is_cpu() ? "host" : "device"; };
  Copies& copies = copies_[{std::string(what), message(side(source), " to ", side(destination))}];
  ++copies.count;
  copies.size_bytes += size_bytes;
}

Ledger* exchange_ledger(Ledger* ledger) { return std::exchange(current, ledger); }

Dispatch::Dispatch(const char* op, Device device) : range_(op) {
  if (current != nullptr) [[unlikely]]
    current->add_dispatch(op, device);
}

void record_dispatches(const Ledger& ledger) {
  if (current != nullptr) [[unlikely]]
    current->add_dispatches(ledger);
}

void record_copy(std::string_view what, Device source, Device destination, std::size_t size_bytes) {
  if (current != nullptr) [[unlikely]]
    current->add_copy(what, source, destination, size_bytes);
}

}  // namespace stagegate

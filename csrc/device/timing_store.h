#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stagegate {

// The folder where what was timed is kept from one process to the next: $STAGEGATE_CACHE, or
// stagegate in $XDG_CACHE_HOME or ~/.cache. Nothing where STAGEGATE_CACHE=off, or where there is no
// home.
std::optional<std::filesystem::path> timing_folder();

// Which kernel won each contest, in a file that processes share. A file holds for one subject: the
// device, the versions of what runs on it and of the candidates. One that is damaged, or that
// cannot be written, costs a warning and the time to settle the contests again, never a failure.
class TimingStore {
 public:
  // folder: nothing: this process alone remembers. subject: one line.
  TimingStore(std::optional<std::filesystem::path> folder, std::string subject);

  // key and winner: without tabs and line ends.
  std::optional<std::string> find(const std::string& key);
  // Rewrites the file, and keeps what other processes added to it since it was read.
  void keep(const std::string& key, const std::string& winner);

 private:
  void write();
  void give_up(std::string_view why);

  std::mutex mutex_;
  std::string subject_;
  std::optional<std::filesystem::path> file_;  // nothing: kept nowhere
  std::map<std::string, std::string> winners_;
};

struct TimingFile {
  std::filesystem::path path;
  std::string subject;  // empty in a file that is damaged at its beginning
  std::map<std::string, std::string> winners;
  std::size_t damaged = 0;  // lines
};

// Reads one file. The result is empty if there is none. Never throws.
std::optional<TimingFile> read_timings(const std::filesystem::path& file);
// Those in timing_folder(), by name.
std::vector<TimingFile> kept_timings();

// Bytes as text, and back; nothing for text of another length or other letters.
std::string hex_of(const void* data, std::size_t size);
bool from_hex(std::string_view text, void* data, std::size_t size);

}  // namespace stagegate

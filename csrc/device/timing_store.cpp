#include "device/timing_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/check.h"

// The file: kFormat, the subject, then a line a contest: checksum, key and winner, with tabs
// between them. The checksum is of key, tab and winner.
namespace stagegate {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "stagegate timings 1";
constexpr std::string_view kSuffix = ".timings";
// More is no file of ours.
constexpr std::size_t kMostBytes = std::size_t{8} << 20;

void warn(std::string_view text) {
  const std::string line = message("stagegate: ", text, "\n");
  std::fputs(line.c_str(), stderr);
}

std::string checksum(std::string_view text) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char letter : text)
    hash = (hash ^ static_cast<unsigned char>(letter)) * 1099511628211u;
  return hex_of(&hash, sizeof(hash));
}

std::string entry(std::string_view key, std::string_view winner) {
  return message(key, '\t', winner);
}

// The name of the file of a subject, which a person can read.
std::string file_name(std::string_view subject) {
  std::string name;
  for (const char letter : subject) {
    const bool plain = std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '.';
    if (plain) {
      name += letter;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  return name.substr(0, 200) + std::string(kSuffix);
}

struct Descriptor {
  int number;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

std::optional<std::string> read_file(const fs::path& file) {
  const Descriptor from(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (from.number < 0) return std::nullopt;
  std::string text;
  char buffer[1 << 14];
  for (;;) {
    const ssize_t count = ::read(from.number, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || text.size() > kMostBytes) return text;
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

bool write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(to, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

// A file is whole at every moment: written under another name, then renamed. False leaves errno.
bool replace_file(const fs::path& file, std::string_view text) {
  std::string name = file.string() + ".XXXXXX";
  const Descriptor to(::mkstemp(name.data()));
  if (to.number < 0) return false;
  if (write_all(to.number, text) && ::rename(name.c_str(), file.c_str()) == 0) return true;
  const int error = errno;
  ::unlink(name.c_str());
  errno = error;
  return false;
}

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

}  // namespace

std::string hex_of(const void* data, std::size_t size) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<const unsigned char*>(data)[i];
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

bool from_hex(std::string_view text, void* data, std::size_t size) {
  if (text.size() != 2 * size) return false;
  for (std::size_t i = 0; i < size; ++i) {
    unsigned char byte = 0;
    const char* first = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, byte, 16);
    if (error != std::errc{} || end != first + 2) return false;
    static_cast<unsigned char*>(data)[i] = byte;
  }
  return true;
}

std::optional<fs::path> timing_folder() {
  if (const char* stated = variable("STAGEGATE_CACHE")) {
    if (std::string_view(stated) == "off") return std::nullopt;
    return fs::path(stated);
  }
  const char* cache = variable("XDG_CACHE_HOME");
  // By its specification a relative one counts for nothing.
  if (cache != nullptr && *cache == '/') return fs::path(cache) / "stagegate";
  const char* home = variable("HOME");
  if (home == nullptr) return std::nullopt;
  return fs::path(home) / ".cache" / "stagegate";
}

std::optional<TimingFile> read_timings(const fs::path& file) {
  const std::optional<std::string> text = read_file(file);
  if (!text) return std::nullopt;
  TimingFile found{.path = file, .subject = {}, .winners = {}, .damaged = 0};
  std::size_t number = 0;
  bool ours = true;
  for (std::size_t begin = 0; begin < text->size(); ++number) {
    const std::size_t end = text->find('\n', begin);
    const bool whole = end != std::string::npos;
    const std::string_view line =
        std::string_view(*text).substr(begin, whole ? end - begin : std::string_view::npos);
    begin += line.size() + 1;
    if (number == 0) ours = line == kFormat;
    if (number == 1 && ours && whole) found.subject = line;
    if (number < 2) continue;
    const std::size_t sum = line.find('\t');
    const std::size_t key = sum == std::string_view::npos ? sum : line.find('\t', sum + 1);
    if (!ours || key == std::string_view::npos ||
        checksum(line.substr(sum + 1)) != line.substr(0, sum)) {
      ++found.damaged;
      continue;
    }
    found.winners[std::string(line.substr(sum + 1, key - sum - 1))] = line.substr(key + 1);
  }
  if (found.subject.empty()) found.damaged = std::max<std::size_t>(found.damaged, 1);
  return found;
}

std::vector<TimingFile> kept_timings() {
  std::vector<TimingFile> files;
  const std::optional<fs::path> folder = timing_folder();
  std::error_code ignored;
  if (!folder) return files;
  for (const auto& item : fs::directory_iterator(*folder, ignored)) {
    if (item.path().extension() != kSuffix) continue;
    if (std::optional<TimingFile> file = read_timings(item.path())) files.push_back(*file);
  }
  std::sort(files.begin(), files.end(),
            [](const TimingFile& a, const TimingFile& b) { return a.path < b.path; });
  return files;
}

TimingStore::TimingStore(std::optional<fs::path> folder, std::string subject)
    : subject_(std::move(subject)) {
  if (!folder) return;
  file_ = *folder / file_name(subject_);
  const std::optional<TimingFile> found = read_timings(*file_);
  if (!found) return;
  if (found->subject != subject_) {
    warn(message(file_->string(), " is no file of timings for ", subject_,
                 "; it is replaced, and kernels are timed again"));
    return;
  }
  if (found->damaged > 0) {
    warn(message(file_->string(), ": ", found->damaged,
                 found->damaged == 1 ? " line is" : " lines are",
                 " damaged; what they said is timed again"));
  }
  winners_ = found->winners;
}

std::optional<std::string> TimingStore::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = winners_.find(key);
  if (found == winners_.end()) return std::nullopt;
  return found->second;
}

void TimingStore::keep(const std::string& key, const std::string& winner) {
  const std::lock_guard lock(mutex_);
  winners_[key] = winner;
  if (file_) write();
}

void TimingStore::write() {
  std::error_code error;
  fs::create_directories(file_->parent_path(), error);
  if (error) return give_up(error.message());
  // Whoever writes at the same time waits. A file system without locks loses an entry at worst.
  const Descriptor lock(
      ::open((file_->string() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.number >= 0) static_cast<void>(::flock(lock.number, LOCK_EX));
  if (const std::optional<TimingFile> other = read_timings(*file_);
      other && other->subject == subject_) {
    winners_.insert(other->winners.begin(), other->winners.end());
  }
  std::string text = message(kFormat, '\n', subject_, '\n');
  for (const auto& [key, winner] : winners_) {
    const std::string line = entry(key, winner);
    append_to(text, message(checksum(line), '\t', line, '\n'));
  }
  if (!replace_file(*file_, text)) give_up(std::strerror(errno));
}

void TimingStore::give_up(std::string_view why) {
  warn(message("timings cannot be kept in ", file_->string(), " (", why,
               "); set STAGEGATE_CACHE to a folder that can be written, or to off"));
  file_.reset();
}

}  // namespace stagegate

// Winners of contests that outlive a process, in files that may be shared, damaged or foreign.

#include "device/timing_store.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "check.h"

namespace {

namespace fs = std::filesystem;
using stagegate::TimingStore;

const std::string kSubject = "NVIDIA H100, driver 13000, revision 1";

// A folder of its own, removed afterwards.
struct Folder {
  fs::path path;
  Folder() {
    char name[] = "/tmp/timing_store.XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  fs::path cache() const { return path / "new" / "cache"; }
  // The one file of timings.
  fs::path file() const {
    fs::path found;
    for (const auto& item : fs::directory_iterator(cache())) {
      if (item.path().extension() == ".timings") {
        CHECK(found.empty());
        found = item.path();
      }
    }
    CHECK(!found.empty());
    return found;
  }
};

std::string read(const fs::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  CHECK(file != nullptr);
  std::string text(fs::file_size(path), '\0');
  CHECK(std::fread(text.data(), 1, text.size(), file) == text.size());
  std::fclose(file);
  return text;
}

void write(const fs::path& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  CHECK(file != nullptr);
  CHECK(std::fwrite(text.data(), 1, text.size(), file) == text.size());
  std::fclose(file);
}

void winners_are_found_again() {
  const Folder folder;
  TimingStore first(folder.cache(), kSubject);
  CHECK(!first.find("a"));
  first.keep("a", "one");
  first.keep("b", "two");
  first.keep("a", "three");
  TimingStore second(folder.cache(), kSubject);
  CHECK(second.find("a") == "three" && second.find("b") == "two" && !second.find("c"));
  CHECK(folder.file().filename() == "NVIDIA-H100-driver-13000-revision-1.timings");
}

void another_subject_has_another_file() {
  const Folder folder;
  TimingStore(folder.cache(), kSubject).keep("a", "one");
  TimingStore other(folder.cache(), "NVIDIA H100, driver 13010, revision 1");
  CHECK(!other.find("a"));
  other.keep("a", "two");
  CHECK(TimingStore(folder.cache(), kSubject).find("a") == "one");
}

void a_foreign_file_is_written_anew() {
  for (const char* text : {"", "\n", "something else\n", "stagegate timings 2\nx\n",
                           "stagegate timings 1\nNVIDIA-H100, driver 13000, revision 1\n"}) {
    const Folder folder;
    TimingStore(folder.cache(), kSubject).keep("a", "one");
    write(folder.file(), text);
    TimingStore store(folder.cache(), kSubject);
    CHECK(!store.find("a"));
    store.keep("b", "two");
    TimingStore again(folder.cache(), kSubject);
    CHECK(!again.find("a") && again.find("b") == "two");
  }
}

void damaged_lines_cost_what_they_said() {
  const Folder folder;
  TimingStore store(folder.cache(), kSubject);
  store.keep("a", "one");
  store.keep("b", "two");
  store.keep("c", "three");
  const std::string whole = read(folder.file());
  std::string changed = whole;
  changed.replace(changed.find("two"), 3, "tow");
  write(folder.file(), changed);
  TimingStore after(folder.cache(), kSubject);
  CHECK(after.find("a") == "one" && !after.find("b") && after.find("c") == "three");
  // Cut off anywhere, nothing is believed but whole lines.
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write(folder.file(), whole.substr(0, size));
    TimingStore cut(folder.cache(), kSubject);
    for (const auto& [key, winner] : {std::pair{"a", "one"}, {"b", "two"}, {"c", "three"}}) {
      const std::optional<std::string> found = cut.find(key);
      CHECK(!found || *found == winner);
    }
  }
}

void processes_share_a_file() {
  const Folder folder;
  constexpr int kProcesses = 4;
  constexpr int kKeys = 25;
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0) continue;
    TimingStore store(folder.cache(), kSubject);
    for (int key = 0; key < kKeys; ++key) {
      store.keep(std::to_string(process) + "/" + std::to_string(key), "won");
    }
    _exit(0);
  }
  for (int process = 0; process < kProcesses; ++process) {
    int status = 0;
    CHECK(wait(&status) > 0 && status == 0);
  }
  const auto found = stagegate::read_timings(folder.file());
  CHECK(found && found->damaged == 0 && found->winners.size() == kProcesses * kKeys);
}

void where_nothing_can_be_written_the_process_remembers() {
  const Folder folder;
  fs::create_directories(folder.path / "new");
  write(folder.cache(), "a file where a folder is wanted");
  TimingStore store(folder.cache(), kSubject);
  store.keep("a", "one");
  store.keep("b", "two");
  CHECK(store.find("a") == "one" && store.find("b") == "two");
  TimingStore nowhere(std::nullopt, kSubject);
  nowhere.keep("a", "one");
  CHECK(nowhere.find("a") == "one");
}

void set(const char* name, const char* value) {
  CHECK((value == nullptr ? unsetenv(name) : setenv(name, value, 1)) == 0);
}

void the_environment_says_where() {
  using stagegate::timing_folder;
  set("STAGEGATE_CACHE", nullptr);
  set("XDG_CACHE_HOME", "/xdg");
  set("HOME", "/home/me");
  CHECK(timing_folder() == fs::path("/xdg/stagegate"));
  set("XDG_CACHE_HOME", "relative");
  CHECK(timing_folder() == fs::path("/home/me/.cache/stagegate"));
  set("STAGEGATE_CACHE", "/elsewhere");
  CHECK(timing_folder() == fs::path("/elsewhere"));
  set("STAGEGATE_CACHE", "off");
  CHECK(!timing_folder() && stagegate::kept_timings().empty());
  set("STAGEGATE_CACHE", "");
  set("XDG_CACHE_HOME", "");
  set("HOME", nullptr);
  CHECK(!timing_folder());
}

void files_are_listed() {
  const Folder folder;
  set("STAGEGATE_CACHE", folder.cache().c_str());
  CHECK(stagegate::kept_timings().empty());
  TimingStore(stagegate::timing_folder(), "b").keep("key", "winner");
  TimingStore(stagegate::timing_folder(), "a").keep("key", "winner");
  write(folder.cache() / "c.timings", "foreign");
  const auto files = stagegate::kept_timings();
  CHECK(files.size() == 3);
  CHECK(files[0].subject == "a" && files[0].winners.size() == 1 && files[0].damaged == 0);
  CHECK(files[1].subject == "b" && files[1].winners.at("key") == "winner");
  CHECK(files[2].subject.empty() && files[2].damaged == 1);
}

void bytes_become_text_and_back() {
  const unsigned char bytes[] = {0, 1, 0xab, 0xff};
  const std::string text = stagegate::hex_of(bytes, sizeof(bytes));
  CHECK(text == "0001abff");
  unsigned char back[4] = {};
  CHECK(stagegate::from_hex(text, back, 4) && std::equal(bytes, bytes + 4, back));
  CHECK(!stagegate::from_hex("0001abf", back, 4) && !stagegate::from_hex("0001abfg", back, 4));
  CHECK(!stagegate::from_hex("0001ab f", back, 4) && !stagegate::from_hex(text, back, 3));
}

}  // namespace

int main() {
  winners_are_found_again();
  another_subject_has_another_file();
  a_foreign_file_is_written_anew();
  damaged_lines_cost_what_they_said();
  processes_share_a_file();
  where_nothing_can_be_written_the_process_remembers();
  the_environment_says_where();
  files_are_listed();
  bytes_become_text_and_back();
}

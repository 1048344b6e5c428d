#include "blob/cache_limit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "system/unique_fd.h"

namespace obd {
namespace {

struct Entry {
  std::string name;
  uint64_t bytes;
  timespec used;
};

bool used_before(const Entry& a, const Entry& b) {
  return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec : a.used.tv_nsec < b.used.tv_nsec;
}

std::vector<Entry> entries_of(int directory) {
  std::vector<Entry> entries;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(::dup(directory)), ::closedir);
  if (!dir) return entries;
  ::rewinddir(dir.get());
  while (const dirent* found = ::readdir(dir.get())) {
    struct stat st;
    if (::fstatat(directory, found->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
    entries.push_back({found->d_name, static_cast<uint64_t>(st.st_blocks) * 512, st.st_mtim});
  }
  return entries;
}

// Whoever uses an entry holds a shared lock on it.
bool remove_unused(int directory, const std::string& name) {
  const UniqueFd fd(::openat(directory, name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  return fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 && ::unlinkat(directory, name.c_str(), 0) == 0;
}

}  // namespace

uint64_t trim_cache(const std::string& directory, uint64_t limit) noexcept {
  const UniqueFd dir(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::flock(dir.get(), LOCK_EX | LOCK_NB) != 0) return 0;
  std::vector<Entry> entries = entries_of(dir.get());
  uint64_t total = 0, freed = 0;
  for (const Entry& entry : entries) total += entry.bytes;
  std::sort(entries.begin(), entries.end(), used_before);
  for (const Entry& entry : entries) {
    if (total - freed <= limit) break;
    if (remove_unused(dir.get(), entry.name)) freed += entry.bytes;
  }
  return freed;
}

}  // namespace obd

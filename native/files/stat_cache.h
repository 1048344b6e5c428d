// Remembers what the content of a file hashed to between builds, as git's index does: as long as device,
// inode, size, mtime and ctime of a path are the same, so is its content.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "files/sha256.h"
#include "files/tree.h"

namespace obd::files {

class StatCache {
 public:
  // `file` holds what is remembered of `root`; a missing, foreign or damaged one is an empty cache. Its
  // directory is there. Caches beside it that nobody used for 30 days are removed when this one is saved.
  StatCache(std::string file, const Root& root);

  // The digest remembered for the node, or null when something of its stat is different.
  const Digest* find(const std::string& path, const Node& node);

  // Remembers a digest that was taken at `hashed_at` (CLOCK_REALTIME nanoseconds when the read began). One
  // taken within two seconds of the file's last change is not: a further change could leave the same stat.
  void add(const std::string& path, const Node& node, const Digest& digest, int64_t hashed_at);

  // Writes the file anew (temp file and rename, so that two builds at once only lose each other's news),
  // when there is something new. What was not asked for this time stays as long as its stat is right.
  void save();

 private:
  struct Entry {
    uint64_t dev, ino, size;
    int64_t mtime, ctime;
    Digest digest;
    uint32_t path_length;
    uint32_t used;  // asked for in this run; not stored
  };
  void load();
  bool still_right(std::string_view path, const Entry& entry) const;

  std::string file_;
  const Root& root_;
  std::string text_;  // the file as read; the keys of `old_` point into it
  std::unordered_map<std::string_view, Entry> old_;
  std::map<std::string, Entry> fresh_;
  std::mutex mutex_;
};

}  // namespace obd::files

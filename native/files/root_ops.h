// Small questions and changes inside a mounted root, for code that must not touch the mount itself.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "files/root.h"

namespace obd::files {

struct Entry {
  std::string name;  // the last component; of a listing, the path relative to the directory
  uint32_t mode;     // st_mode
  uint32_t uid, gid;
  uint64_t size;
  int64_t mtime;  // nanoseconds since the epoch
  std::string link;
};

// The content of a regular file, symlinks followed, [offset, offset + length). Throws FsError: ENOENT, EINVAL
// when it is no regular file, EFBIG when that would be more than `max` bytes.
std::string read_file(const Root& root, const std::string& path, uint64_t offset, uint64_t length, uint64_t max);

// Metadata of a path; with `follow`, of what a symlink in its last place leads to.
Entry stat_path(const Root& root, const std::string& path, bool follow);

// The entries of a directory, by name. A pattern (.dockerignore language) keeps those that match it or lead
// to something that does; "" keeps all.
std::vector<Entry> read_dir(const Root& root, const std::string& path, const std::string& include);

// Makes the target of a mount when it is not there: an empty file or directory (0755 for all directories)
// and what it lies in. The modification times of directories that were there stay. Returns what was made,
// outermost first. Throws FsError when it is there but of the other kind.
std::vector<std::string> ensure_mountpoint(const Root& root, const std::string& path, bool directory);

// Takes away what ensure_mountpoint made, as far as it is still empty.
void remove_created(const Root& root, const std::vector<std::string>& created);

}  // namespace obd::files

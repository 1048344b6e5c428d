// A directory that paths cannot leave. Every path is taken inside it: a leading slash means the root,
// `..` stops there, and a symlink, wherever it points, is resolved as if the process were chrooted (openat2).
#pragma once
#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "files/fd.h"

namespace obd::files {

class Root {
 public:
  // Throws FsError when `path` is no directory.
  explicit Root(const std::string& path);

  // The root directory itself (O_PATH).
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

  // Opens a path, symlinks resolved inside the root. Throws FsError "open <path>: ...".
  Fd open(const std::string& path, int flags, mode_t mode = 0) const;
  // The same; an invalid Fd with errno set instead of an exception.
  Fd try_open(const std::string& path, int flags, mode_t mode = 0) const;
  // Opens a path that is already resolved: any symlink on the way (and at the end, unless O_NOFOLLOW with
  // O_PATH) is an error (ELOOP), so a path checked before cannot be redirected meanwhile.
  Fd try_open_resolved(const std::string& path, int flags, mode_t mode = 0) const;
  Fd open_resolved(const std::string& path, int flags, mode_t mode = 0) const;

  // The cleaned path ("/a/b") with all symlinks of existing components resolved; what does not exist is
  // taken as it is. With `follow_last` false a symlink in the last place stays. Throws FsError for a
  // symlink loop or a component that is no directory.
  std::string resolve(const std::string& path, bool follow_last = true) const;

  // stat of a path, its last component not followed; nothing when it does not exist.
  std::optional<struct stat> lstat(const std::string& path) const;

 private:
  std::string path_;
  Fd fd_;
};

// A directory descriptor and a name in it, as the *at calls take them: where a resolved path lives.
struct Place {
  Fd dir;
  std::string name;  // "." for the root itself
};

// Opens the parent of a resolved path. Throws FsError "<op> <path>: ...".
Place open_place(const Root& root, const std::string& resolved, const std::string& op);

// readlinkat of any length. Throws FsError.
std::string read_link(int dirfd, const std::string& name, const std::string& shown);

// The names in a directory, sorted, without "." and "..". Takes the descriptor over. Throws FsError.
std::vector<std::string> list_names(Fd dir, const std::string& shown);

// rm -rf of dirfd/name; a missing entry is fine. Never follows a symlink. Throws FsError, also for a nesting
// (`depth` levels so far) that no path could name.
void remove_all(int dirfd, const std::string& name, const std::string& shown, int depth = 0);

}  // namespace obd::files

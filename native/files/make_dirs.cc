#include "files/make_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "files/fs_error.h"
#include "files/go_path.h"

namespace obd::files {

void set_times(int dirfd, const std::string& name, int64_t time, const std::string& shown) {
  int64_t seconds = time / 1'000'000'000, rest = time % 1'000'000'000;
  if (rest < 0) {
    seconds--;
    rest += 1'000'000'000;
  }
  const timespec both[2] = {{seconds, rest}, {seconds, rest}};
  int rc = name.empty() ? ::futimens(dirfd, both) : ::utimensat(dirfd, name.c_str(), both, AT_SYMLINK_NOFOLLOW);
  if (rc != 0) throw_path("failed to utime", shown);
}

void set_owner(int dirfd, const std::string& name, Owner owner, const std::string& shown) {
  if (::fchownat(dirfd, name.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    throw_path("lchown", shown);
  }
}

std::vector<std::string> make_dirs(const Root& root, const std::string& path, uint32_t mode,
                                   const std::optional<Owner>& owner, const std::optional<int64_t>& time) {
  std::vector<std::string> made;
  std::string current;
  Fd dir = root.open_resolved("/", O_RDONLY | O_DIRECTORY);
  for (const auto& part : path_components(path)) {
    current += "/" + part;
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    Fd next(::openat(dir.get(), part.c_str(), flags));
    if (!next && errno == ENOENT) {
      if (::mkdirat(dir.get(), part.c_str(), mode & 0777) != 0) throw_path("mkdir", current);
      next = Fd(::openat(dir.get(), part.c_str(), flags));
      if (!next) throw_path("mkdir", current);
      struct stat st;
      if (::fstat(next.get(), &st) != 0) throw_path("stat", current);
      // Whatever the umask; a set-group-id bit comes from the directory above.
      if (::fchmod(next.get(), (mode & 0777) | (st.st_mode & S_ISGID)) != 0) throw_path("chmod", current);
      if (owner) set_owner(next.get(), "", *owner, current);
      if (time) set_times(next.get(), "", *time, current);
      made.push_back(current);
    }
    if (!next) throw_path("mkdir", current, errno == ELOOP ? ENOTDIR : errno);
    dir = std::move(next);
  }
  return made;
}

}  // namespace obd::files

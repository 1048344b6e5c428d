#include "files/root.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <algorithm>
#include <climits>
#include <deque>
#include <memory>

#include "files/fs_error.h"
#include "files/go_path.h"

namespace obd::files {

namespace {

constexpr int kMaxLinks = 255;  // as BuildKit has it

// A path openat2 takes: relative, never empty.
std::string inside(const std::string& path) {
  size_t start = path.find_first_not_of('/');
  return start == std::string::npos ? "." : path.substr(start);
}

Fd open_how(int dirfd, const std::string& path, int flags, mode_t mode, uint64_t resolve) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) ? mode : 0;
  how.resolve = resolve | RESOLVE_NO_MAGICLINKS;
  const std::string relative = inside(path);
  // EAGAIN: a rename or mount elsewhere raced with a `..`; the kernel asks to try again.
  for (int attempt = 0; attempt < 64; attempt++) {
    long fd = syscall(SYS_openat2, dirfd, relative.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return Fd();
}

}  // namespace

Root::Root(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (!fd_) throw_path("open", path);
}

Fd Root::try_open(const std::string& path, int flags, mode_t mode) const {
  return open_how(fd(), path, flags, mode, RESOLVE_IN_ROOT);
}

Fd Root::open(const std::string& path, int flags, mode_t mode) const {
  Fd out = try_open(path, flags, mode);
  if (!out) throw_path("open", path);
  return out;
}

Fd Root::try_open_resolved(const std::string& path, int flags, mode_t mode) const {
  return open_how(fd(), path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

Fd Root::open_resolved(const std::string& path, int flags, mode_t mode) const {
  Fd out = try_open_resolved(path, flags, mode);
  if (!out) throw_path("open", path);
  return out;
}

std::string Root::resolve(const std::string& path, bool follow_last) const {
  auto parts = path_components(path);
  std::deque<std::string> pending(parts.begin(), parts.end());
  std::string current;  // "" or "/a/b"
  int links = 0;
  while (!pending.empty()) {
    std::string part = std::move(pending.front());
    pending.pop_front();
    if (part == "..") {
      current.erase(current.empty() ? 0 : current.rfind('/'));
      continue;
    }
    std::string next = current + "/" + part;
    Fd entry = try_open_resolved(next, O_PATH | O_NOFOLLOW);
    if (!entry && errno != ENOENT) throw_path("lstat", next);
    struct stat st = {};
    if (entry && ::fstat(entry.get(), &st) != 0) throw_path("lstat", next);
    if (!S_ISLNK(st.st_mode) || (pending.empty() && !follow_last)) {
      current = next;
      continue;
    }
    if (++links > kMaxLinks) throw FsError("too many links", ELOOP);
    std::string target = read_link(entry.get(), "", next);
    if (!target.empty() && target[0] == '/') current.clear();
    auto more = path_components(target);
    pending.insert(pending.begin(), more.begin(), more.end());
  }
  return current.empty() ? "/" : current;
}

std::optional<struct stat> Root::lstat(const std::string& path) const {
  Fd entry = try_open(path, O_PATH | O_NOFOLLOW);
  struct stat st;
  if (!entry) {
    if (errno == ENOENT) return std::nullopt;
    throw_path("lstat", path);
  }
  if (::fstat(entry.get(), &st) != 0) throw_path("lstat", path);
  return st;
}

Place open_place(const Root& root, const std::string& resolved, const std::string& op) {
  std::string path = clean_path("/" + resolved);
  Fd dir = root.try_open_resolved(dir_name(path), O_RDONLY | O_DIRECTORY);
  if (!dir) throw_path(op, resolved);
  return {std::move(dir), path == "/" ? "." : base_name(path)};
}

std::string read_link(int dirfd, const std::string& name, const std::string& shown) {
  std::string target(256, '\0');
  while (true) {
    ssize_t n = ::readlinkat(dirfd, name.c_str(), target.data(), target.size());
    if (n < 0) throw_path("readlink", shown);
    if (static_cast<size_t>(n) < target.size()) {
      target.resize(static_cast<size_t>(n));
      return target;
    }
    target.resize(target.size() * 2);
  }
}

std::vector<std::string> list_names(Fd dir, const std::string& shown) {
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(dir.get()), ::closedir);
  if (!stream) throw_path("open", shown);
  dir.release();
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (!entry) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) throw_path("readdirent", shown);
  std::sort(names.begin(), names.end());
  return names;
}

void remove_all(int dirfd, const std::string& name, const std::string& shown, int depth) {
  if (::unlinkat(dirfd, name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno != EISDIR && errno != EPERM) throw_path("unlinkat", shown);
  if (depth > PATH_MAX / 2) throw_path("unlinkat", shown, ENAMETOOLONG);
  Fd dir(::openat(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) throw_path("unlinkat", shown, errno == ENOTDIR ? EPERM : errno);
  int fd = ::fcntl(dir.get(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) throw_path("unlinkat", shown);
  for (const auto& child : list_names(Fd(fd), shown)) {
    remove_all(dir.get(), child, shown + "/" + child, depth + 1);
  }
  if (::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) throw_path("unlinkat", shown);
}

}  // namespace obd::files

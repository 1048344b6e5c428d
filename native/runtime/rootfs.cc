#include "runtime/rootfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/root.h"

namespace obd::runtime {
namespace {

using files::Fd;
using files::FsError;
using files::Place;
using files::Root;

constexpr size_t kMaxUserFile = 10u << 20;

std::optional<std::string> read_small_file(const Root& root, const std::string& path) {
  // O_NONBLOCK: opening a FIFO that an image has in this place must not wait for a writer.
  Fd fd = root.try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat st;
  if (!fd || fstat(fd.get(), &st) < 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  std::string content;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) files::throw_path("read", path);
    if (n == 0) return content;
    content.append(buffer, static_cast<size_t>(n));
    if (content.size() > kMaxUserFile) return std::nullopt;
  }
}

// A directory's times as they are now, put back when this goes away.
class KeepTimes {
 public:
  explicit KeepTimes(const Fd& dir) : dir_(dir.get()) {
    struct stat st;
    known_ = fstat(dir_, &st) == 0;
    times_[0] = st.st_atim;
    times_[1] = st.st_mtim;
  }
  KeepTimes(const KeepTimes&) = delete;
  KeepTimes& operator=(const KeepTimes&) = delete;
  ~KeepTimes() {
    if (known_) futimens(dir_, times_);
  }

 private:
  int dir_;
  bool known_ = false;
  struct timespec times_[2] = {};
};

void make_file(const Place& place) {
  Fd file(openat(place.dir.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) throw_errno("create " + place.name);
}

void make_directory(const Place& place) {
  if (mkdirat(place.dir.get(), place.name.c_str(), 0755) < 0) throw_errno("mkdir " + place.name);
}

void make_mount_point(const Root& root, const MountPoint& point, bool recursive, std::vector<std::string>& stubs) {
  const std::string target = root.resolve(point.path);
  std::vector<std::string> missing;
  for (std::string path = target; path != "/" && !root.lstat(path); path = files::dir_name(path)) missing.push_back(path);
  struct stat source;
  const bool file = !point.source.empty() && stat(point.source.c_str(), &source) == 0 && !S_ISDIR(source.st_mode);
  for (auto path = missing.rbegin(); path != missing.rend(); ++path) {
    const bool last = *path == target;
    const Place place = files::open_place(root, *path, "mkdir");
    const KeepTimes keep(place.dir);
    if (last && file) make_file(place);
    else make_directory(place);
    if (last || recursive) stubs.push_back(*path);
  }
}

void remove_stub(const Root& root, const std::string& path) {
  if (root.resolve(path, false) != path) return;  // a component became a symlink meanwhile
  const Place place = files::open_place(root, path, "open");
  struct stat st;
  if (fstatat(place.dir.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (!S_ISDIR(st.st_mode) && st.st_size != 0) return;
  const KeepTimes keep(place.dir);
  // A directory with entries stays: rmdir refuses it.
  unlinkat(place.dir.get(), place.name.c_str(), S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

}  // namespace

RootfsState prepare_rootfs(const std::string& root_path, const std::vector<MountPoint>& mount_points, bool recursive,
                           const std::vector<std::string>& wanted, const std::string& cwd) {
  const Root root(root_path);
  RootfsState state;
  for (const MountPoint& point : mount_points) {
    try {
      make_mount_point(root, point, recursive, state.stubs);
    } catch (const std::system_error&) {
      // runc meets the same obstacle and names it
    }
  }
  for (const std::string& path : wanted) state.files.push_back(read_small_file(root, path));
  const Fd dir = root.try_open(cwd, O_PATH);
  state.cwd_exists = static_cast<bool>(dir);
  return state;
}

void make_working_dir(const std::string& root_path, const std::string& cwd, uint32_t uid, uint32_t gid) {
  const Root root(root_path);
  const std::string resolved = root.resolve(cwd);
  std::string path;
  for (const std::string& part : files::path_components(resolved)) {
    path += "/" + part;
    const Place place = files::open_place(root, path, "mkdir");
    if (mkdirat(place.dir.get(), place.name.c_str(), 0755) < 0) {
      if (errno != EEXIST) files::throw_path("mkdir", path);
      continue;
    }
    // The process's umask cuts mkdirat's mode.
    if (fchmodat(place.dir.get(), place.name.c_str(), 0755, 0) < 0) files::throw_path("chmod", path);
    if (fchownat(place.dir.get(), place.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) < 0) files::throw_path("chown", path);
  }
}

void remove_stubs(const std::string& root_path, const std::vector<std::string>& stubs) {
  const Root root(root_path);
  for (auto path = stubs.rbegin(); path != stubs.rend(); ++path) {
    try {
      remove_stub(root, *path);
    } catch (const FsError&) {
      // a parent is gone or no directory any more: so is the stub
    }
  }
}

}  // namespace obd::runtime

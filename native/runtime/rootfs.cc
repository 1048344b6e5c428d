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

// The stub itself and, with `recursive`, the parents that will have to be made for it.
void list_missing(const Root& root, const std::string& stub, bool recursive, std::vector<std::string>& missing) {
  std::string path;
  try {
    path = root.resolve(stub);
  } catch (const FsError&) {
    return;  // runc will refuse this mount point and say why
  }
  while (path != "/") {
    if (root.lstat(path)) return;
    missing.push_back(path);
    if (!recursive) return;
    path = files::dir_name(path);
  }
}

void remove_stub(const Root& root, const std::string& path) {
  if (root.resolve(path, false) != path) return;  // a component became a symlink meanwhile
  const Place place = files::open_place(root, path, "open");
  struct stat st, parent;
  if (fstatat(place.dir.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (!S_ISDIR(st.st_mode) && st.st_size != 0) return;
  if (fstat(place.dir.get(), &parent) < 0) return;
  // A directory with entries stays: rmdir refuses it.
  if (unlinkat(place.dir.get(), place.name.c_str(), S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0) return;
  const struct timespec times[2] = {parent.st_atim, parent.st_mtim};
  futimens(place.dir.get(), times);
}

}  // namespace

RootfsState inspect_rootfs(const std::string& root_path, const std::vector<std::string>& stubs, bool recursive,
                           const std::vector<std::string>& wanted, const std::string& cwd) {
  const Root root(root_path);
  RootfsState state;
  for (const std::string& stub : stubs) list_missing(root, stub, recursive, state.missing);
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

void remove_stubs(const std::string& root_path, const std::vector<std::string>& missing) {
  const Root root(root_path);
  for (const std::string& path : missing) {
    try {
      remove_stub(root, path);
    } catch (const FsError&) {
      // a parent is gone or no directory any more: so is the stub
    }
  }
}

}  // namespace obd::runtime

#include "files/root_ops.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/tree.h"

namespace obd::files {

namespace {

Entry make_entry(std::string name, const struct stat& st) {
  return {std::move(name), st.st_mode, st.st_uid, st.st_gid, static_cast<uint64_t>(st.st_size),
          nanoseconds(st.st_mtim), ""};
}

// Keeps a directory's times over a change of its entries.
class KeepTimes {
 public:
  explicit KeepTimes(int dirfd) : fd_(dirfd), valid_(::fstat(dirfd, &before_) == 0) {}
  ~KeepTimes() {
    const timespec times[2] = {before_.st_atim, before_.st_mtim};
    if (valid_) ::futimens(fd_, times);
  }
  KeepTimes(const KeepTimes&) = delete;
  KeepTimes& operator=(const KeepTimes&) = delete;

 private:
  int fd_;
  struct stat before_;
  bool valid_;
};

}  // namespace

std::string read_file(const Root& root, const std::string& path, uint64_t offset, uint64_t length, uint64_t max) {
  Fd fd = root.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) throw_path("stat", path);
  if (!S_ISREG(st.st_mode)) throw FsError(path + " is not a regular file", EINVAL);
  const uint64_t size = static_cast<uint64_t>(st.st_size);
  const uint64_t wanted = offset >= size ? 0 : std::min(length, size - offset);
  if (wanted > max) {
    throw FsError("file " + path + " is larger than " + std::to_string(max) + " bytes", EFBIG);
  }
  std::string out(wanted, '\0');
  uint64_t done = 0;
  while (done < wanted) {
    ssize_t n = ::pread(fd.get(), out.data() + done, wanted - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("read", path);
    if (n == 0) break;
    done += static_cast<uint64_t>(n);
  }
  out.resize(done);
  return out;
}

Entry stat_path(const Root& root, const std::string& path, bool follow) {
  Fd fd = root.try_open(path, O_PATH | (follow ? 0 : O_NOFOLLOW));
  if (!fd) throw_path(follow ? "stat" : "lstat", path);
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) throw_path("stat", path);
  Entry out = make_entry(base_name(path), st);
  if (S_ISLNK(st.st_mode)) out.link = read_link(fd.get(), "", path);
  return out;
}

std::vector<Entry> read_dir(const Root& root, const std::string& path, const std::string& include) {
  Fd dir = root.open(path, O_RDONLY | O_DIRECTORY);
  TreeOptions options;
  options.root = "/proc/self/fd/" + std::to_string(dir.get());
  if (!include.empty()) options.include.push_back(include);
  Tree tree(options);
  std::vector<Entry> out;
  for (Node* node : tree.children(tree.root())) {
    out.push_back({node->name, node->mode, node->uid, node->gid, node->size, node->mtime, node->link});
  }
  return out;
}

std::vector<std::string> ensure_mountpoint(const Root& root, const std::string& path, bool directory) {
  std::vector<std::string> created;
  const auto parts = path_components(root.resolve(path));
  std::string current;
  Fd dir = root.open_resolved("/", O_RDONLY | O_DIRECTORY);
  for (size_t i = 0; i < parts.size(); i++) {
    current += "/" + parts[i];
    const bool last = i + 1 == parts.size();
    struct stat st;
    if (::fstatat(dir.get(), parts[i].c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) throw_path("lstat", current);
      KeepTimes keep(dir.get());
      const bool as_file = last && !directory;
      int rc = as_file ? ::mknodat(dir.get(), parts[i].c_str(), S_IFREG | 0755, 0)
                       : ::mkdirat(dir.get(), parts[i].c_str(), 0755);
      if (rc != 0) throw_path(as_file ? "create" : "mkdir", current);
      created.push_back(current);
      ::fchmodat(dir.get(), parts[i].c_str(), 0755, 0);
    } else if (last && S_ISDIR(st.st_mode) != directory) {
      throw FsError("mount target " + current + (directory ? " is not a directory" : " is a directory"),
                    directory ? ENOTDIR : EISDIR);
    }
    if (last) break;
    Fd next(::openat(dir.get(), parts[i].c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) throw_path("mkdir", current);
    dir = std::move(next);
  }
  return created;
}

void remove_created(const Root& root, const std::vector<std::string>& created) {
  for (auto path = created.rbegin(); path != created.rend(); ++path) {
    Fd dir = root.try_open_resolved(dir_name(*path), O_RDONLY | O_DIRECTORY);
    if (!dir) continue;
    const std::string name = base_name(*path);
    struct stat st;
    if (::fstatat(dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISDIR(st.st_mode) && st.st_size != 0) continue;
    KeepTimes keep(dir.get());
    ::unlinkat(dir.get(), name.c_str(), S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);  // a filled directory stays
  }
}

}  // namespace obd::files

#include "files/node_compare.h"

#include <fcntl.h>

#include <cstring>
#include <vector>

#include "files/fs_error.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

size_t read_full(int fd, char* buffer, size_t size, const std::string& path) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = ::read(fd, buffer + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

bool same_content(const Tree& lower, const Node& a, const Tree& upper, const Node& b, Task& task) {
  constexpr size_t kBuffer = 256 << 10;
  Fd left = lower.open_file(a), right = upper.open_file(b);
  std::vector<char> one(kBuffer), two(kBuffer);
  while (true) {
    task.check();
    const size_t n = read_full(left.get(), one.data(), kBuffer, lower.path(a));
    if (n != read_full(right.get(), two.data(), kBuffer, upper.path(b))) return false;
    if (std::memcmp(one.data(), two.data(), n) != 0) return false;
    if (n < kBuffer) return true;
  }
}

std::string capability(const Tree& tree, const Node& node) {
  Place place = open_place(tree.dir(), tree.path(node), "open");
  for (auto& [key, value] : read_xattrs(place.dir.get(), place.name, tree.path(node))) {
    if (key == "security.capability") return value;
  }
  return "";
}

// A tar on the way may have cut the fraction of a second off.
bool same_time(int64_t a, int64_t b) {
  constexpr int64_t kSecond = 1'000'000'000;
  return a == b || (a / kSecond == b / kSecond && (a % kSecond == 0 || b % kSecond == 0));
}

}  // namespace

bool same_entry(const Tree& lower, const Node& a, const Tree& upper, const Node& b, Task& task) {
  if (a.mode != b.mode || a.uid != b.uid || a.gid != b.gid || a.rdev != b.rdev) return false;
  if (!a.is_dir() && (a.size != b.size || !same_time(a.mtime, b.mtime) || a.link != b.link)) return false;
  if (a.ino == b.ino && a.ctime == b.ctime) return true;
  if (!a.is_symlink() && capability(lower, a) != capability(upper, b)) return false;
  return !S_ISREG(a.mode) || a.size == 0 || same_content(lower, a, upper, b, task);
}

}  // namespace obd::files

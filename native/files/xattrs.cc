#include "files/xattrs.h"

#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>

#include "files/fs_error.h"

namespace obd::files {

namespace {

// There is no l*xattr call relative to a descriptor before Linux 6.13. The magic link pins the directory,
// so nothing on the way can be swapped, and the l* calls do not follow the last component.
std::string proc_path(int dirfd, const std::string& name) {
  std::string out = "/proc/self/fd/" + std::to_string(dirfd);
  return name.empty() ? out : out + "/" + name;
}

}  // namespace

Xattrs read_xattrs(int dirfd, const std::string& name, const std::string& shown) {
  Xattrs out;
  const bool itself = name.empty();
  const std::string path = itself ? "" : proc_path(dirfd, name);
  std::string names(512, '\0');
  ssize_t n;
  while (true) {
    n = itself ? ::flistxattr(dirfd, names.data(), names.size()) : ::llistxattr(path.c_str(), names.data(), names.size());
    if (n >= 0 || errno != ERANGE) break;
    names.resize(names.size() * 4);
  }
  if (n < 0) {
    if (errno == ENOTSUP) return out;
    throw_path("listxattr", shown);
  }
  for (size_t at = 0; at < static_cast<size_t>(n);) {
    std::string key = names.c_str() + at;
    at += key.size() + 1;
    std::string value(256, '\0');
    ssize_t size;
    while (true) {
      size = itself ? ::fgetxattr(dirfd, key.c_str(), value.data(), value.size())
                    : ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
      if (size >= 0 || errno != ERANGE || value.size() > (1u << 20)) break;
      value.resize(value.size() * 16);
    }
    if (size < 0) continue;  // gone meanwhile, or not ours to read
    value.resize(static_cast<size_t>(size));
    out.emplace_back(std::move(key), std::move(value));
  }
  std::sort(out.begin(), out.end());
  return out;
}

int set_xattr(int dirfd, const std::string& name, const std::string& key, const std::string& value) {
  int rc = name.empty() ? ::fsetxattr(dirfd, key.c_str(), value.data(), value.size(), 0)
                        : ::lsetxattr(proc_path(dirfd, name).c_str(), key.c_str(), value.data(), value.size(), 0);
  return rc == 0 ? 0 : errno;
}

void copy_xattrs(const Xattrs& xattrs, int dirfd, const std::string& name, const std::string& shown) {
  for (const auto& [key, value] : xattrs) {
    const int err = is_portable_xattr(key) ? set_xattr(dirfd, name, key, value) : 0;
    if (err == ENOSPC || err == EDQUOT || err == EIO) throw_path("setxattr " + key, shown, err);
  }
}

bool is_portable_xattr(const std::string& key) {
  return key == "security.capability" || key.compare(0, 17, "system.posix_acl_") == 0 || (key.compare(0, 9, "security.") != 0 && key.compare(0, 7, "system.") != 0);
}

}  // namespace obd::files

// What the tests of the files room share: a scratch directory and plain file helpers.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "files/fs_error.h"
#include "files/task.h"
#include "files/tree.h"

namespace files_test {

// A fresh directory under /tmp, gone at the end.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/obd-files-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }
  std::string at(const std::string& relative) const { return path_ + "/" + relative; }

  // Makes a directory and those above it; returns its path.
  std::string dir(const std::string& relative, mode_t mode = 0755) const {
    std::filesystem::create_directories(at(relative));
    chmod(at(relative).c_str(), mode);
    return at(relative);
  }
  void file(const std::string& relative, const std::string& content, mode_t mode = 0644) const {
    std::filesystem::create_directories(std::filesystem::path(at(relative)).parent_path());
    std::ofstream(at(relative), std::ios::binary) << content;
    chmod(at(relative).c_str(), mode);
  }
  void link(const std::string& relative, const std::string& target) const {
    std::filesystem::create_directories(std::filesystem::path(at(relative)).parent_path());
    (void)!symlink(target.c_str(), at(relative).c_str());
  }
  std::string read(const std::string& relative) const {
    std::ifstream in(at(relative), std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  struct stat stat(const std::string& relative) const {
    struct stat st = {};
    lstat(at(relative).c_str(), &st);
    return st;
  }
  bool exists(const std::string& relative) const {
    struct stat st;
    return lstat(at(relative).c_str(), &st) == 0;
  }
  mode_t mode(const std::string& relative) const { return stat(relative).st_mode & 07777; }
  std::string target(const std::string& relative) const { return std::filesystem::read_symlink(at(relative)); }
  void set_mtime(const std::string& relative, int64_t seconds, long nanos = 0) const {
    const timespec times[2] = {{seconds, nanos}, {seconds, nanos}};
    utimensat(AT_FDCWD, at(relative).c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
  std::string xattr(const std::string& relative, const std::string& key) const {
    char value[256];
    ssize_t n = lgetxattr(at(relative).c_str(), key.c_str(), value, sizeof value);
    return n < 0 ? "" : std::string(value, static_cast<size_t>(n));
  }

 private:
  std::string path_;
};

inline std::shared_ptr<obd::files::Task> task() { return std::make_shared<obd::files::Task>(); }

inline std::shared_ptr<obd::files::Tree> tree(const std::string& root) {
  obd::files::TreeOptions options;
  options.root = root;
  return std::make_shared<obd::files::Tree>(options);
}

// The message `fn` fails with; "" when it does not.
template <typename Fn>
std::string failure(Fn&& fn) {
  try {
    fn();
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// A file capability as the kernel stores it: cap_net_raw, effective and permitted.
inline const std::string kCapability("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);

}  // namespace files_test

#include "blob/new_file.h"

#include <fcntl.h>
#include <stdio.h>

#include <utility>

#include "error.h"

namespace obd {

NewFile::NewFile(std::string path) : path_(std::move(path)), temp_(path_ + ".tmp") {
  const size_t slash = path_.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  fd_ = UniqueFd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  if (fd_) return;
  if (errno != EOPNOTSUPP && errno != EISDIR) throw_errno("create " + path_);
  fd_ = UniqueFd(::open(temp_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd_) throw_errno("create " + temp_);
  temp_exists_ = true;
}

NewFile::~NewFile() {
  if (temp_exists_) ::unlink(temp_.c_str());
}

void NewFile::keep() {
  if (!temp_exists_) {
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    auto link_as = [&](const std::string& name) {
      return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (link_as(path_)) return;
    if (errno != EEXIST) throw_errno("create " + path_);
    // linkat replaces nothing, rename does.
    ::unlink(temp_.c_str());
    if (!link_as(temp_)) throw_errno("create " + temp_);
    temp_exists_ = true;
  }
  if (::rename(temp_.c_str(), path_.c_str()) != 0) throw_errno("rename " + temp_ + " to " + path_);
  temp_exists_ = false;
}

}  // namespace obd

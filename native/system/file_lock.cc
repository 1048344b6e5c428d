#include "system/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "error.h"

namespace obd {

std::optional<UniqueFd> try_lock_file(const std::string& path) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw_errno("open " + path);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      throw_errno("lock " + path);
    }
    // A holder may have removed the file before it let go: then this lock guards nothing.
    struct stat held{}, named{};
    if (::fstat(fd.get(), &held) != 0) throw_errno("stat " + path);
    if (::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev) return fd;
  }
}

}  // namespace obd

#include "blob/local_blob.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <utility>

#include "error.h"

namespace obd {

void check_inside(const std::string& name, uint64_t offset, uint64_t count, uint64_t size) {
  if (offset > size || count > size - offset) {
    throw FormatError(name, offset, "reading " + std::to_string(count) + " bytes goes past the end, " +
                                        std::to_string(size) + " bytes");
  }
}

namespace {

thread_local bool only_cached = false;

ssize_t read_waiting(int fd, void* buf, size_t count, uint64_t offset) {
  return ::pread(fd, buf, count, static_cast<off_t>(offset));
}

// As pread, but fails with EAGAIN where OnlyCached forbids to wait.
ssize_t read_allowed(int fd, void* buf, size_t count, uint64_t offset) {
  if (only_cached) {
    const iovec part{buf, count};
    const ssize_t n = ::preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP) return n;
  }
  return read_waiting(fd, buf, count, offset);
}

using Read = ssize_t (*)(int fd, void* buf, size_t count, uint64_t offset);

// How many bytes there are before the end of the file or an error, which errno tells; 0 there means the end.
size_t read_on(Read read, int fd, void* buf, size_t count, uint64_t offset) {
  size_t done = 0;
  while (done < count) {
    const ssize_t n = read(fd, static_cast<char*>(buf) + done, count - done, offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = 0;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

[[noreturn]] void throw_short(const std::string& name, size_t lacking, uint64_t end) {
  if (errno == 0) throw FormatError(name, end, "the file ends here, " + std::to_string(lacking) + " more bytes expected");
  throw_errno("read " + name + " at byte " + std::to_string(end));
}

}  // namespace

OnlyCached::OnlyCached() { only_cached = true; }
OnlyCached::~OnlyCached() { only_cached = false; }

bool pread_in_memory(int fd, void* buf, size_t count, uint64_t offset) {
  const iovec part{buf, count};
  return ::preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT) == static_cast<ssize_t>(count);
}

size_t pread_some(int fd, void* buf, size_t count, uint64_t offset) { return read_on(read_waiting, fd, buf, count, offset); }

std::optional<size_t> try_pread_some(int fd, void* buf, size_t count, uint64_t offset) {
  const size_t done = read_on(read_allowed, fd, buf, count, offset);
  if (done < count && errno == EAGAIN) return std::nullopt;
  return done;
}

void pread_full(int fd, void* buf, size_t count, uint64_t offset, const std::string& name) {
  const size_t done = read_on(read_waiting, fd, buf, count, offset);
  if (done < count) throw_short(name, count - done, offset + done);
}

bool try_pread_full(int fd, void* buf, size_t count, uint64_t offset, const std::string& name) {
  const size_t done = read_on(read_allowed, fd, buf, count, offset);
  if (done < count && errno != EAGAIN) throw_short(name, count - done, offset + done);
  return done == count;
}

void pwrite_full(int fd, const void* buf, size_t count, uint64_t offset, const std::string& name) {
  auto* p = static_cast<const char*>(buf);
  while (count > 0) {
    ssize_t n = ::pwrite(fd, p, count, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno("write " + name + " at byte " + std::to_string(offset));
    }
    p += n;
    count -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
}

LocalBlob::LocalBlob(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), name_(path) {
  if (fd_ < 0) throw_errno("open " + path);
  take_size();
}

LocalBlob::LocalBlob(int fd, std::string name) : fd_(fd), name_(std::move(name)) { take_size(); }

LocalBlob::~LocalBlob() { ::close(fd_); }

void LocalBlob::take_size() {
  struct stat st;
  int err = ::fstat(fd_, &st) != 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
  if (err != 0) {
    ::close(fd_);  // the destructor does not run when a constructor throws
    throw_errno(err == EINVAL ? name_ + " is not a regular file" : "stat " + name_, err);
  }
  size_ = static_cast<uint64_t>(st.st_size);
}

bool LocalBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name_, offset, count, size_);
  if (try_pread_full(fd_, buf, count, offset, name_)) return true;
  misses.push_back(Miss::on_disk());
  return false;
}

LentBytes LocalBlob::lend(uint64_t offset, size_t count) {
  std::call_once(first_lent_, [this] { mapped_.emplace(fd_, size_); });
  return LentBytes(*mapped_, offset, count);
}

WindowBlob::WindowBlob(std::shared_ptr<Blob> parent, uint64_t offset, uint64_t size)
    : parent_(std::move(parent)), offset_(offset), size_(size) {
  check_inside(parent_->name(), offset, size, parent_->size());
}

bool WindowBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name(), offset, count, size_);
  return parent_->try_read(buf, count, offset_ + offset, misses);
}

}  // namespace obd

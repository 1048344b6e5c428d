// Blobs whose bytes are on this machine: an open file, and a window of another blob.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "blob/blob.h"

namespace obd {

// A file opened for reading. Its size is taken when it is opened.
class LocalBlob : public Blob {
 public:
  // Opens `path` read-only. Throws std::system_error.
  explicit LocalBlob(const std::string& path);
  // Takes ownership of `fd`; `name` is what errors call it.
  LocalBlob(int fd, std::string name);
  ~LocalBlob() override;
  LocalBlob(const LocalBlob&) = delete;
  LocalBlob& operator=(const LocalBlob&) = delete;

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  LentBytes lend(uint64_t offset, size_t count) override;
  int fd() const { return fd_; }

 private:
  void take_size();
  int fd_;
  std::string name_;
  uint64_t size_ = 0;
  std::once_flag first_lent_;
  std::optional<MappedFile> mapped_;
};

// `size` bytes of `parent` from `offset` on, e.g. the payload of a tar entry.
class WindowBlob : public Blob {
 public:
  // Throws FormatError when the window reaches past the end of `parent`.
  WindowBlob(std::shared_ptr<Blob> parent, uint64_t offset, uint64_t size);

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return parent_->name(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  bool try_read_plain(void* buf, size_t count, uint64_t offset) override {
    return parent_->try_read_plain(buf, count, offset);
  }
  LentBytes lend(uint64_t offset, size_t count) override { return parent_->lend(offset_ + offset, count); }
  bool distrust(uint64_t offset, size_t count, Misses& misses) override {
    return parent_->distrust(offset_ + offset, count, misses);
  }
  uint64_t offset() const { return offset_; }

 private:
  std::shared_ptr<Blob> parent_;
  uint64_t offset_;
  uint64_t size_;
};

// As long as one lives, blobs read on this thread only give what the kernel has in memory, and report the rest as a miss
// (Miss::on_disk): read it again on a thread that may wait. File systems that cannot tell are read as ever.
class OnlyCached {
 public:
  OnlyCached();
  ~OnlyCached();
  OnlyCached(const OnlyCached&) = delete;
  OnlyCached& operator=(const OnlyCached&) = delete;
};

// Reads `count` bytes at `offset` of `fd` if the kernel has all of them in memory; false otherwise, and where the file
// system cannot tell.
bool pread_in_memory(int fd, void* buf, size_t count, uint64_t offset);
// Reads `count` bytes at `offset` of `fd` through short reads and EINTR, or as many as there are before the end of the
// file or an error. Returns how many.
size_t pread_some(int fd, void* buf, size_t count, uint64_t offset);
// Reads exactly `count` bytes at `offset` of `fd`, through short reads and EINTR. Throws FormatError at
// the end of the file, std::system_error on failure.
void pread_full(int fd, void* buf, size_t count, uint64_t offset, const std::string& name);
// The same two for what a blob is read with: false, and nothing, when OnlyCached forbids to wait for the disk.
bool try_pread_full(int fd, void* buf, size_t count, uint64_t offset, const std::string& name);
std::optional<size_t> try_pread_some(int fd, void* buf, size_t count, uint64_t offset);
// Writes all of it, likewise.
void pwrite_full(int fd, const void* buf, size_t count, uint64_t offset, const std::string& name);

// Throws FormatError unless [offset, offset + count) lies inside a blob of `size` bytes.
void check_inside(const std::string& name, uint64_t offset, uint64_t count, uint64_t size);

}  // namespace obd

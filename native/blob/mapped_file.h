// The bytes of a file where the kernel keeps them, read without copying them.
//
// A page that cannot be had (the file was cut short, the disk fails) would end the process with SIGBUS. Zeros take its
// place instead, and nothing that was read counts: the caller reads in the usual way, and learns what is wrong.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace obd {

class MappedFile {
 public:
  // `fd`, a file of `size` bytes, stays open as long as this lives. What the kernel does not map is never lent.
  MappedFile(int fd, uint64_t size);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

 private:
  friend class LentBytes;
  bool holds(uint64_t offset, size_t count) const noexcept;
  // The same for what lies within one of the pieces that are asked about at once.
  bool holds_of_piece(uint64_t begin, uint64_t end) const noexcept;
  // For what was read before `end`.
  bool intact(uint64_t end) const noexcept;

  const int fd_;
  char* bytes_ = nullptr;
  const uint64_t size_;
  std::unique_ptr<std::atomic<uint32_t>[]> seen_;  // when each piece was in memory as a whole; 0: never
  std::atomic<bool> broken_{false};                // pages may have been replaced
};

// A range of a mapped file while one thread looks at it; one at a time.
class LentBytes {
 public:
  LentBytes() = default;  // none
  // None when the kernel does not have all of it in memory: reading never waits for the disk, but for what has left memory
  // in the last second. None on a thread that blocks SIGBUS.
  LentBytes(MappedFile& file, uint64_t offset, size_t count) noexcept;
  ~LentBytes();
  LentBytes(const LentBytes&) = delete;
  LentBytes& operator=(const LentBytes&) = delete;

  // Null when there are none.
  const char* data() const { return data_; }
  // Whether what was read of them so far is what the file holds.
  bool intact() const noexcept;

  // For the handler of SIGBUS: puts zeros at `address`. False when it is not of the file lent to this thread.
  static bool replace_page(void* address) noexcept;

 private:
  MappedFile* file_ = nullptr;
  const char* data_ = nullptr;
  uint64_t end_ = 0;
};

}  // namespace obd

// What the blocks of a remote blob hold, decompressed, in the blob's cache entry: who reads them again does not
// decompress them again.
//
//   [table: 4 bytes a page of 4 KiB, rounded up to 1 MiB][pages]
//
// The table has a page's CRC-32C, zero for a page that is not kept; it is written after the page. Whatever comes from the
// disk is compared with it: a page that a crash or the disk tore is as good as one that is not kept. What was compared
// and has stayed in memory since is not compared again, which would take a tenth of the time of a read.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace obd {

// Bytes: the kernel keeps what is written at once, and aligned, in large pieces of memory, which are read faster.
constexpr uint64_t kPlainPiece = 1 << 20;

class PlainCopy {
 public:
  // For `size` plain bytes, from byte `start` of the file on, a multiple of kPlainPiece. `fd` stays the caller's.
  PlainCopy(int fd, uint64_t start, uint64_t size);

  // False when some of these bytes are not kept, or OnlyCached forbids to wait for the disk.
  bool read(void* buf, size_t count, uint64_t offset);
  // Keeps the pages that lie wholly in these bytes. What cannot be written is not kept.
  void store(const void* data, size_t count, uint64_t offset) const noexcept;
  // Nothing is kept any more.
  void forget() const noexcept;

 private:
  size_t page_length(uint64_t page) const;
  bool read_pages(char* buf, uint64_t first, size_t count, const uint32_t* sums);
  bool is_compared(uint64_t page) const { return compared_[page / 64].load(std::memory_order_relaxed) >> page % 64 & 1; }

  const int fd_;
  const uint64_t size_, pages_, table_start_, data_start_;
  // A bit a page: compared since a page was last read from the disk.
  std::vector<std::atomic<uint64_t>> compared_;
};

}  // namespace obd

#include "blob/plain_copy.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "blob/local_blob.h"
#include "zfile/crc32c.h"
#include "zfile/scratch.h"

namespace obd {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kBatch = kPlainPiece / kPage;  // pages read or written at once
using Sums = std::array<uint32_t, kBatch>;
constexpr uint32_t kNotKept = 0;

// Never zero.
uint32_t sum_of(const void* page, size_t count) {
  const uint32_t crc = crc32c_raw(page, count, 0xffffffff);
  return crc == 0 ? 1 : crc;
}

bool write_all(int fd, const void* data, size_t count, uint64_t offset) noexcept {
  for (size_t done = 0; done < count;) {
    const ssize_t n = ::pwrite(fd, static_cast<const char*>(data) + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

PlainCopy::PlainCopy(int fd, uint64_t start, uint64_t size)
    : fd_(fd),
      size_(size),
      pages_((size + kPage - 1) / kPage),
      table_start_(start),
      data_start_(start + (pages_ * sizeof(uint32_t) + kPlainPiece - 1) / kPlainPiece * kPlainPiece),
      compared_(pages_ / 64 + 1) {}

size_t PlainCopy::page_length(uint64_t page) const {
  return static_cast<size_t>(std::min(kPage, size_ - page * kPage));
}

// Reads `count` bytes, which begin with page `first`, and end with one.
bool PlainCopy::read_pages(char* buf, uint64_t first, size_t count, const uint32_t* sums) {
  const uint64_t start = data_start_ + first * kPage;
  if (!pread_in_memory(fd_, buf, count, start)) {
    // The kernel reads more from the disk than it is asked for: nobody knows which pages are the ones compared any more.
    for (std::atomic<uint64_t>& bits : compared_) bits.store(0, std::memory_order_relaxed);
    if (try_pread_some(fd_, buf, count, start) != count) return false;
  }
  for (uint64_t at = 0, page = first; at < count; at += kPage, ++page) {
    if (is_compared(page)) continue;
    if (sum_of(buf + at, std::min<size_t>(kPage, count - at)) != sums[page - first]) {
      write_all(fd_, &kNotKept, sizeof kNotKept, table_start_ + page * sizeof(uint32_t));
      return false;
    }
    compared_[page / 64].fetch_or(uint64_t{1} << page % 64, std::memory_order_relaxed);
  }
  return true;
}

bool PlainCopy::read(void* buf, size_t count, uint64_t offset) {
  auto* out = static_cast<char*>(buf);
  const uint64_t end = offset + count;
  while (offset < end) {
    const uint64_t first = offset / kPage, pages = std::min<uint64_t>(kBatch, (end - 1) / kPage + 1 - first);
    Sums sums;
    const size_t table_bytes = pages * sizeof(uint32_t);
    if (try_pread_some(fd_, sums.data(), table_bytes, table_start_ + first * sizeof(uint32_t)) != table_bytes) return false;
    if (std::find(sums.begin(), sums.begin() + pages, kNotKept) != sums.begin() + pages) return false;
    const uint64_t begin_of_first = first * kPage, last = first + pages - 1, end_of_last = last * kPage + page_length(last);
    const size_t bytes = static_cast<size_t>(end_of_last - begin_of_first), part = static_cast<size_t>(std::min(end, end_of_last) - offset);
    if (part == bytes) {
      if (!read_pages(out, first, bytes, sums.data())) return false;
    } else {
      thread_local Scratch scratch;
      char* const whole = scratch.get(bytes);
      if (!read_pages(whole, first, bytes, sums.data())) return false;
      std::memcpy(out, whole + (offset - begin_of_first), part);
    }
    out += part;
    offset += part;
  }
  return true;
}

void PlainCopy::store(const void* data, size_t count, uint64_t offset) const noexcept {
  const uint64_t end_page = offset + count == size_ ? pages_ : (offset + count) / kPage;
  for (uint64_t first = (offset + kPage - 1) / kPage; first < end_page; first += kBatch) {
    const size_t pages = static_cast<size_t>(std::min<uint64_t>(kBatch, end_page - first));
    const char* const bytes = static_cast<const char*>(data) + (first * kPage - offset);
    Sums sums;
    size_t length = 0;
    for (size_t i = 0; i < pages; ++i) {
      sums[i] = sum_of(bytes + length, page_length(first + i));
      length += page_length(first + i);
    }
    if (!write_all(fd_, bytes, length, data_start_ + first * kPage)) return;
    write_all(fd_, sums.data(), pages * sizeof(uint32_t), table_start_ + first * sizeof(uint32_t));
  }
}

void PlainCopy::forget() const noexcept {
  static const std::array<uint32_t, kBatch> none{};
  for (uint64_t first = 0; first < pages_; first += kBatch) {
    const uint64_t pages = std::min<uint64_t>(kBatch, pages_ - first);
    if (!write_all(fd_, none.data(), pages * sizeof(uint32_t), table_start_ + first * sizeof(uint32_t))) return;
  }
}

}  // namespace obd

#include "blob/joined_blob.h"

#include <algorithm>
#include <cstring>

#include "blob/local_blob.h"

namespace obd {
namespace {

constexpr uint64_t kSectorSize = 512;

uint64_t whole_sectors(uint64_t bytes) { return (bytes + kSectorSize - 1) / kSectorSize * kSectorSize; }

// Reads `count` bytes at `offset` of a blob that goes on with zeros.
bool read_padded(Blob& blob, char* buf, size_t count, uint64_t offset, Misses& misses) {
  const size_t there = static_cast<size_t>(std::min<uint64_t>(count, blob.size() - std::min(offset, blob.size())));
  std::memset(buf + there, 0, count - there);
  return there == 0 || blob.try_read(buf, there, offset, misses);
}

}  // namespace

JoinedBlob::JoinedBlob(std::shared_ptr<Blob> first, std::shared_ptr<Blob> second)
    : first_(std::move(first)),
      second_(std::move(second)),
      second_begin_(whole_sectors(first_->size())),
      size_(second_begin_ + whole_sectors(second_->size())) {}

bool JoinedBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name(), offset, count, size_);
  auto* out = static_cast<char*>(buf);
  const size_t in_first = offset < second_begin_ ? static_cast<size_t>(std::min<uint64_t>(count, second_begin_ - offset)) : 0;
  bool local = in_first == 0 || read_padded(*first_, out, in_first, offset, misses);
  if (in_first < count) {
    local &= read_padded(*second_, out + in_first, count - in_first, offset + in_first - second_begin_, misses);
  }
  return local;
}

}  // namespace obd

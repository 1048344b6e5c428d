#include "zfile/stored_blocks.h"

#include <cstring>

#include "zfile/crc32c.h"
#include "zfile/zfile_format.h"

namespace obd {

uint64_t StoredBlocks::first_block(uint64_t offset) const {
  uint64_t low = 0, high = table_->blocks();
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (table_->offset(middle) < offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

uint64_t StoredBlocks::align_down(uint64_t offset) const {
  if (!is_inside(offset)) return offset;
  return offset_ + table_->offset(first_block(offset - offset_ + 1) - 1);
}

uint64_t StoredBlocks::align_up(uint64_t offset) const {
  if (!is_inside(offset)) return offset;
  return offset_ + table_->offset(first_block(offset - offset_));
}

std::string StoredBlocks::check(const void* data, size_t count, uint64_t offset) const {
  if (!verify_ || offset + count <= offset_) return "";
  const uint64_t begin = offset > offset_ ? offset - offset_ : 0;
  const uint64_t end = offset + count - offset_;
  const auto* bytes = static_cast<const char*>(data);
  for (uint64_t block = first_block(begin); block < table_->blocks() && table_->offset(block + 1) <= end; ++block) {
    const char* const stored = bytes + (offset_ + table_->offset(block) - offset);
    const size_t length = static_cast<size_t>(table_->offset(block + 1) - table_->offset(block)) - 4;
    uint32_t crc;
    std::memcpy(&crc, stored + length, sizeof crc);
    if (crc32c_raw(stored, length, kZFileBlockCrcSeed) != crc) {
      return "block " + std::to_string(block) + " does not match its checksum";
    }
  }
  return "";
}

}  // namespace obd

#include "zfile/jump_table.h"

namespace obd {

JumpTable::JumpTable(uint64_t first, uint32_t block_size) : shift_(0), end_(first) {
  // 15 blocks of 4 KiB stored at their worst stay under 64 KiB; larger blocks share a base with fewer.
  while (shift_ < 4 && (uint64_t{block_size} << (shift_ + 1)) <= 64 * 1024) shift_++;
  mask_ = (uint64_t{1} << shift_) - 1;
}

void JumpTable::append(uint32_t length) {
  if ((blocks_ & mask_) == 0) {
    bases_.push_back(end_);
  } else {
    deltas_.push_back(static_cast<uint16_t>(end_ - bases_.back()));
  }
  blocks_++;
  end_ += length;
}

void JumpTable::shrink_to_fit() {
  bases_.shrink_to_fit();
  deltas_.shrink_to_fit();
}

}  // namespace obd

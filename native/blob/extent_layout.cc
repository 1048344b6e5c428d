#include "blob/extent_layout.h"

#include <algorithm>

namespace obd {

ExtentLayout::ExtentLayout(uint64_t blob_size, const BlockMap* blocks) {
  starts_.reserve(blob_size / kExtentSize + 2);
  starts_.push_back(0);
  for (uint64_t at = 0; at < blob_size;) {
    uint64_t end = at + kExtentSize;
    if (blocks) {
      end = blocks->align_down(end);
      if (end <= at) end = blocks->align_up(at + kExtentSize);
    }
    end = std::min(end, blob_size);
    longest_ = std::max(longest_, end - at);
    starts_.push_back(end);
    at = end;
  }
  starts_.shrink_to_fit();
}

uint64_t ExtentLayout::at(uint64_t offset) const {
  return static_cast<uint64_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin()) - 1;
}

}  // namespace obd

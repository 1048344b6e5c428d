#include "blob/extent_layout.h"

#include <algorithm>

namespace obd {

ExtentLayout::ExtentLayout(uint64_t blob_size, const BlockMap* blocks)
    : size_(blob_size), count_((blob_size + kExtentSize - 1) / kExtentSize) {
  if (blocks == nullptr) return;
  shifts_.resize(count_);
  for (uint64_t extent = 1; extent < count_; ++extent) {
    const uint64_t window = extent * kExtentSize;
    shifts_[extent] = static_cast<uint32_t>(std::min(blocks->align_up(window), size_) - window);
  }
}

uint64_t ExtentLayout::at(uint64_t offset) const {
  uint64_t extent = offset / kExtentSize;
  while (start(extent) > offset) --extent;
  return extent;
}

}  // namespace obd

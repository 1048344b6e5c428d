// How a remote blob is cut into the extents of its cache entry: one for every 64 KiB, each moved up to where
// no compressed block is cut, so that what is fetched can be checked before anybody sees it.
#pragma once
#include <cstdint>
#include <vector>

#include "blob/block_map.h"

namespace obd {

constexpr uint64_t kExtentSize = 64 * 1024;

class ExtentLayout {
 public:
  // `blocks` may be null: then every extent begins at a multiple of 64 KiB.
  ExtentLayout(uint64_t blob_size, const BlockMap* blocks);

  uint64_t count() const { return count_; }
  // Offset in the blob. For count() the blob's size.
  uint64_t start(uint64_t extent) const {
    if (extent >= count_) return size_;
    return extent * kExtentSize + (shifts_.empty() ? 0 : shifts_[extent]);
  }
  // Bytes; none where a block is so long that it covers a whole 64 KiB.
  uint64_t length(uint64_t extent) const { return start(extent + 1) - start(extent); }
  // The extent that a byte of the blob lies in.
  uint64_t at(uint64_t offset) const;

 private:
  uint64_t size_;
  uint64_t count_;
  std::vector<uint32_t> shifts_;  // of each extent's start, upwards
};

}  // namespace obd

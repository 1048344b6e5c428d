// How a remote blob is cut into the extents of its cache entry: as many whole compressed blocks as 64 KiB hold, so
// that what is fetched can be checked before anybody sees it.
#pragma once
#include <cstdint>
#include <vector>

#include "blob/block_map.h"

namespace obd {

constexpr uint64_t kExtentSize = 64 * 1024;

class ExtentLayout {
 public:
  // `blocks` may be null: then every extent but the last is 64 KiB long.
  ExtentLayout(uint64_t blob_size, const BlockMap* blocks);
  // No blob of this size is cut into more extents than this.
  static uint64_t max_count(uint64_t blob_size) { return 2 * (blob_size / kExtentSize + 1); }

  uint64_t count() const { return starts_.size() - 1; }
  // Offset in the blob. For count() the blob's size.
  uint64_t start(uint64_t extent) const { return starts_[extent]; }
  // Bytes, at least one: 64 KiB, or the one block that is longer.
  uint64_t length(uint64_t extent) const { return starts_[extent + 1] - starts_[extent]; }
  uint64_t longest() const { return longest_; }
  // The extent that a byte of the blob lies in.
  uint64_t at(uint64_t offset) const;

 private:
  std::vector<uint64_t> starts_;  // and the blob's size
  uint64_t longest_ = 0;
};

}  // namespace obd

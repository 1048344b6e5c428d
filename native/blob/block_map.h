// The compressed blocks in a remote blob: its extents have to respect where they begin, since each can be checked and
// decompressed by itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "blob/blob.h"

namespace obd {

class BlockMap {
 public:
  virtual ~BlockMap() = default;
  // The last offset up to `offset`, and the first from it on, at which no block is cut; `offset` itself outside of the
  // blocks.
  virtual uint64_t align_down(uint64_t offset) const = 0;
  virtual uint64_t align_up(uint64_t offset) const = 0;
  // Checks every block that lies in these bytes of the blob, which begin and end where none is cut. What is
  // wrong with the first bad one; empty when all are good.
  virtual std::string check(const void* data, size_t count, uint64_t offset) const = 0;

  // Bytes that the blocks hold, decompressed: what "plain" offsets count.
  virtual uint64_t plain_size() const = 0;
  // The plain bytes of the blocks that lie in a range of the blob, and the range of the blob that a range of plain bytes,
  // which is not empty, is decompressed from.
  virtual BlobRange plain_range(BlobRange stored) const = 0;
  virtual BlobRange stored_range(BlobRange plain) const = 0;
  // Decompresses the blocks that lie in these bytes of the blob into `plain`, which has room for their plain_range().
  // False when one is damaged.
  virtual bool decompress(const void* data, size_t count, uint64_t offset, void* plain) const = 0;
};

}  // namespace obd

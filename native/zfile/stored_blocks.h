// The compressed blocks of a ZFile as they lie in a blob: what the block cache needs to know of them.
#pragma once
#include <memory>

#include "blob/block_map.h"
#include "zfile/jump_table.h"
#include "zfile/zfile_format.h"

namespace obd {

class StoredBlocks : public BlockMap {
 public:
  // `offset`: of the ZFile in the blob.
  StoredBlocks(const ZFileHeader& header, std::shared_ptr<const JumpTable> table, uint64_t offset)
      : header_(header), table_(std::move(table)), offset_(offset) {}

  uint64_t align_down(uint64_t offset) const override;
  uint64_t align_up(uint64_t offset) const override;
  std::string check(const void* data, size_t count, uint64_t offset) const override;
  uint64_t plain_size() const override { return header_.original_size; }
  BlobRange plain_range(BlobRange stored) const override;
  BlobRange stored_range(BlobRange plain) const override;
  bool decompress(const void* data, size_t count, uint64_t offset, void* plain) const override;

 private:
  bool is_inside(uint64_t offset) const {
    return offset > offset_ + table_->offset(0) && offset < offset_ + table_->offset(table_->blocks());
  }
  // The first block that begins at or after `offset` of the ZFile; the number of blocks when there is none.
  uint64_t first_block(uint64_t offset) const;
  // How many blocks end at or before `end` of the ZFile.
  uint64_t blocks_before(uint64_t end) const;

  // Calls `each(block, its stored bytes)` for the blocks that lie in these bytes of the blob, until it says no.
  template <typename Each>
  void for_blocks(const void* data, size_t count, uint64_t offset, Each each) const;

  const ZFileHeader header_;
  const std::shared_ptr<const JumpTable> table_;
  const uint64_t offset_;
};

}  // namespace obd

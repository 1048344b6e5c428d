// The compressed blocks of a ZFile as they lie in a blob: what the block cache needs to know of them.
#pragma once
#include <memory>

#include "blob/block_map.h"
#include "zfile/jump_table.h"

namespace obd {

class StoredBlocks : public BlockMap {
 public:
  // `offset`: of the ZFile in the blob. `verify`: a checksum follows each block.
  StoredBlocks(std::shared_ptr<const JumpTable> table, uint64_t offset, bool verify)
      : table_(std::move(table)), offset_(offset), verify_(verify) {}

  uint64_t align_down(uint64_t offset) const override;
  uint64_t align_up(uint64_t offset) const override;
  std::string check(const void* data, size_t count, uint64_t offset) const override;

 private:
  bool is_inside(uint64_t offset) const {
    return offset > offset_ + table_->offset(0) && offset < offset_ + table_->offset(table_->blocks());
  }
  // The first block that begins at or after `offset` of the ZFile; the number of blocks when there is none.
  uint64_t first_block(uint64_t offset) const;

  std::shared_ptr<const JumpTable> table_;
  uint64_t offset_;
  bool verify_;
};

}  // namespace obd

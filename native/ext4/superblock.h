// The ext4 superblock of a layer that is sealed while its file system is mounted. The kernel keeps some of
// it in memory only until it unmounts (free counts) and marks it "not clean" meanwhile; a sealed layer gets
// it as an unmount would have left it. Field offsets: Linux, fs/ext4/ext4.h, struct ext4_super_block.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "blob/blob.h"
#include "error.h"

namespace obd::ext4 {

constexpr uint64_t kSuperblockOffset = 1024;
constexpr uint64_t kSuperblockSize = 1024;

// The first 4096 bytes of the disk, which hold the superblock.
using BlockZero = std::array<unsigned char, 4096>;
// Reads the disk like BlockDevice::try_read.
using TryRead = std::function<bool(void* buf, size_t count, uint64_t offset)>;

// The journal holds changes that are not in place yet.
class JournalInUse : public FormatError {
 public:
  JournalInUse()
      : FormatError("ext4 superblock", kSuperblockOffset, "the journal has to be replayed: freeze the file system before the seal") {}
};

// The first block of the disk with a clean superblock: state valid, free counts summed up from the group
// descriptors, mount times and places (which tell of the building host) reset, checksum right. Nullopt
// when there is no ext2, 3 or 4, when it is that way already, or when `misses` is not empty afterwards.
// Throws JournalInUse, and FormatError when the file system is in error or its descriptors fail their
// checksums.
std::optional<BlockZero> clean_block_zero(uint64_t disk_size, const TryRead& read, const Misses& misses);

}  // namespace obd::ext4

// One compressed block of a ZFile (FORMATS.md 1.2): its checksum, and what it holds.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "zfile/codec.h"
#include "zfile/jump_table.h"
#include "zfile/zfile_format.h"

namespace obd {

// Bytes a block holds: the block size, or what is left for the last one.
inline size_t plain_length(const ZFileHeader& header, uint64_t block) {
  return static_cast<size_t>(std::min<uint64_t>(header.block_size, header.original_size - block * header.block_size));
}

// What is wrong with the stored bytes of a block, or null.
const char* check_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored);

// Decompresses blocks on the thread that made it, one after the other: what is the same for all of them is looked up once.
class BlockDecoder {
 public:
  // Both outlive this.
  BlockDecoder(const ZFileHeader& header, const JumpTable& table)
      : header_(header), table_(table), codec_(thread_codec(static_cast<ZFileAlgorithm>(header.algorithm))) {}
  // Null after the plain_length() bytes of a block were decompressed into `dst`; else what is wrong with it.
  const char* decode(uint64_t block, const char* stored, char* dst) const;

 private:
  const ZFileHeader& header_;
  const JumpTable& table_;
  Codec& codec_;
};

}  // namespace obd

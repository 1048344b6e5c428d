#include "zfile/block.h"

#include <algorithm>
#include <cstring>

#include "zfile/codec.h"
#include "zfile/crc32c.h"

namespace obd {
namespace {

// Without the checksum behind it.
size_t stored_length(const ZFileHeader& header, const JumpTable& table, uint64_t block) {
  return static_cast<size_t>(table.offset(block + 1) - table.offset(block)) - (header.verify ? sizeof(uint32_t) : 0);
}

}  // namespace

size_t plain_length(const ZFileHeader& header, uint64_t block) {
  return static_cast<size_t>(std::min<uint64_t>(header.block_size, header.original_size - block * header.block_size));
}

const char* check_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored) {
  if (!header.verify) return nullptr;
  const size_t length = stored_length(header, table, block);
  uint32_t crc;
  std::memcpy(&crc, stored + length, sizeof crc);
  return crc32c_raw(stored, length, kZFileBlockCrcSeed) == crc ? nullptr : "does not match its checksum";
}

const char* decode_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored, char* dst) {
  if (const char* problem = check_block(header, table, block, stored)) return problem;
  Codec& codec = thread_codec(static_cast<ZFileAlgorithm>(header.algorithm));
  const size_t length = stored_length(header, table, block);
  return codec.decompress(stored, length, dst, plain_length(header, block)) ? nullptr : "does not decompress";
}

}  // namespace obd

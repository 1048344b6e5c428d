#include "zfile/block.h"

#include <cstring>

#include "zfile/crc32c.h"

namespace obd {
namespace {

// Checks the bytes of a block; `length` gets what there is of them without the checksum behind them.
inline const char* check(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored, size_t& length) {
  length = static_cast<size_t>(table.offset(block + 1) - table.offset(block));
  if (!header.verify) return nullptr;
  uint32_t crc;
  length -= sizeof crc;
  std::memcpy(&crc, stored + length, sizeof crc);
  return crc32c_raw(stored, length, kZFileBlockCrcSeed) == crc ? nullptr : "does not match its checksum";
}

}  // namespace

const char* check_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored) {
  size_t length;
  return check(header, table, block, stored, length);
}

const char* BlockDecoder::decode(uint64_t block, const char* stored, char* dst) const {
  size_t length;
  if (const char* problem = check(header_, table_, block, stored, length)) return problem;
  return codec_.decompress(stored, length, dst, plain_length(header_, block)) ? nullptr : "does not decompress";
}

}  // namespace obd

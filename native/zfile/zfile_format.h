// The 512-byte header and trailer of a ZFile (FORMATS.md 1.1 to 1.3).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace obd {

constexpr size_t kZFileHeaderSize = 512;
constexpr uint32_t kZFileBlockCrcSeed = 100007;
constexpr uint32_t kZFileMinBlockSize = 512, kZFileMaxBlockSize = 64 * 1024;

enum class ZFileAlgorithm : uint8_t { lz4 = 1, zstd = 2 };

struct ZFileHeader {
  static constexpr uint64_t kIsHeader = 1, kDataFile = 2, kSealed = 4, kCompleted = 8, kDigest = 16;

  uint32_t digest = 0;
  uint64_t flags = 0;
  uint64_t index_offset = 0;        // bytes from the start of the ZFile
  uint64_t block_count = 0;         // "index_size": u32 entries
  uint64_t original_size = 0;       // bytes, uncompressed
  uint32_t index_crc = 0;
  uint32_t block_size = 4096;       // bytes, uncompressed
  uint8_t algorithm = static_cast<uint8_t>(ZFileAlgorithm::lz4);
  uint8_t use_dict = 0;
  uint32_t dict_size = 0;
  uint8_t verify = 1;               // each block is followed by its CRC

  bool has(uint64_t flag) const { return (flags & flag) != 0; }
};

// Whether 512 bytes begin with the ZFile magics.
bool has_zfile_magic(const void* block);
// Decodes 512 bytes; `digest_ok` tells whether the digest matches (true when flag bit 4 is clear).
ZFileHeader decode_zfile_header(const void* block, bool& digest_ok);
// Encodes into 512 bytes, every reserved byte zero, with the digest computed.
void encode_zfile_header(const ZFileHeader& header, void* block);

}  // namespace obd

#include "zfile/zfile_format.h"

#include <cstring>

#include "zfile/crc32c.h"

namespace obd {
namespace {

constexpr unsigned char kMagic[24] = {0x5a, 0x46, 0x69, 0x6c, 0x65, 0x00, 0x01, 0x00, 0x74, 0x75, 0x6a, 0x69,
                                      0x2e, 0x79, 0x79, 0x66, 0x40, 0x41, 0x6c, 0x69, 0x62, 0x61, 0x62, 0x61};
constexpr size_t kDigestOffset = 28;
constexpr uint32_t kStructSize = 96;

template <typename T>
T load(const char* block, size_t offset) {
  T value;
  std::memcpy(&value, block + offset, sizeof value);
  return value;
}

template <typename T>
void store(char* block, size_t offset, T value) {
  std::memcpy(block + offset, &value, sizeof value);
}

uint32_t digest_of(const char* block) {
  const uint32_t zero = 0;
  uint32_t crc = crc32c_raw(block, kDigestOffset, 0);
  crc = crc32c_raw(&zero, sizeof zero, crc);
  return crc32c_raw(block + kDigestOffset + 4, kZFileHeaderSize - kDigestOffset - 4, crc);
}

}  // namespace

bool has_zfile_magic(const void* block) { return std::memcmp(block, kMagic, sizeof kMagic) == 0; }

ZFileHeader decode_zfile_header(const void* block, bool& digest_ok) {
  const auto* p = static_cast<const char*>(block);
  ZFileHeader h;
  h.digest = load<uint32_t>(p, kDigestOffset);
  h.flags = load<uint64_t>(p, 32);
  h.index_offset = load<uint64_t>(p, 40);
  h.block_count = load<uint64_t>(p, 48);
  h.original_size = load<uint64_t>(p, 56);
  h.index_crc = load<uint32_t>(p, 64);
  h.block_size = load<uint32_t>(p, 72);
  h.algorithm = load<uint8_t>(p, 76);
  h.use_dict = load<uint8_t>(p, 78);
  h.dict_size = load<uint32_t>(p, 84);
  h.verify = load<uint8_t>(p, 88);
  digest_ok = !h.has(ZFileHeader::kDigest) || digest_of(p) == h.digest;
  return h;
}

void encode_zfile_header(const ZFileHeader& h, void* block) {
  auto* p = static_cast<char*>(block);
  std::memset(p, 0, kZFileHeaderSize);
  std::memcpy(p, kMagic, sizeof kMagic);
  store(p, 24, kStructSize);
  store(p, 32, h.flags);
  store(p, 40, h.index_offset);
  store(p, 48, h.block_count);
  store(p, 56, h.original_size);
  store(p, 64, h.index_crc);
  store(p, 72, h.block_size);
  store(p, 76, h.algorithm);
  store(p, 78, h.use_dict);
  store(p, 84, h.dict_size);
  store(p, 88, h.verify);
  if (h.has(ZFileHeader::kDigest)) store(p, kDigestOffset, digest_of(p));
}

}  // namespace obd

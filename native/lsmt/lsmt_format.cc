#include "lsmt/lsmt_format.h"

#include <cctype>
#include <cstring>
#include <stdexcept>

namespace obd {
namespace {

constexpr unsigned char kMagic[24] = {0x4c, 0x53, 0x4d, 0x54, 0x00, 0x01, 0x02, 0x00, 0x65, 0x7e, 0x63, 0xd2,
                                      0x94, 0x44, 0x08, 0x4c, 0xa2, 0xd2, 0xc8, 0xec, 0x4f, 0xcf, 0xae, 0x8a};
constexpr uint32_t kStructSize = 390;
constexpr size_t kUuidOffset = 56, kParentOffset = 93, kUuidLength = 36;
constexpr size_t kVersionOffset = 132, kTagOffset = 134, kTagLength = 256;

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

std::string load_text(const char* block, size_t offset, size_t longest) {
  return std::string(block + offset, ::strnlen(block + offset, longest));
}

}  // namespace

bool has_lsmt_magic(const void* block) { return std::memcmp(block, kMagic, sizeof kMagic) == 0; }

LsmtHeader decode_lsmt_header(const void* block) {
  const auto* p = static_cast<const char*>(block);
  LsmtHeader h;
  h.flags = load<uint32_t>(p, 28);
  h.index_offset = load<uint64_t>(p, 32);
  h.index_size = load<uint64_t>(p, 40);
  h.virtual_size = load<uint64_t>(p, 48);
  h.uuid = load_text(p, kUuidOffset, kUuidLength);
  h.parent_uuid = load_text(p, kParentOffset, kUuidLength);
  h.user_tag = load_text(p, kTagOffset, kTagLength);
  return h;
}

void encode_lsmt_header(const LsmtHeader& h, void* block) {
  auto* p = static_cast<char*>(block);
  std::memset(p, 0, kLsmtHeaderSize);
  std::memcpy(p, kMagic, sizeof kMagic);
  store(p, 24, kStructSize);
  store(p, 28, h.flags);
  store(p, 32, h.index_offset);
  store(p, 40, h.index_size);
  store(p, 48, h.virtual_size);
  std::memcpy(p + kUuidOffset, h.uuid.data(), std::min(h.uuid.size(), kUuidLength));
  std::memcpy(p + kParentOffset, h.parent_uuid.data(), std::min(h.parent_uuid.size(), kUuidLength));
  store<uint8_t>(p, kVersionOffset, 1);
  store<uint8_t>(p, kVersionOffset + 1, 1);
  std::memcpy(p + kTagOffset, h.user_tag.data(), std::min(h.user_tag.size(), kTagLength));
}

LsmtRecord decode_lsmt_record(const void* bytes) {
  uint64_t w[2];
  std::memcpy(w, bytes, sizeof w);
  LsmtRecord r;
  r.offset = w[0] & Segment::kMaxOffset;
  r.length = w[0] >> 50;
  r.moffset = w[1] & ((uint64_t{1} << 55) - 1);
  r.zeroed = ((w[1] >> 55) & 1) != 0;
  r.tag = w[1] >> 56;
  return r;
}

void encode_lsmt_record(const Segment& s, void* bytes) {
  const uint64_t w[2] = {uint64_t{s.offset} | uint64_t{s.length} << 50,
                         uint64_t{s.moffset} | uint64_t{s.zeroed} << 55};
  std::memcpy(bytes, w, sizeof w);
}

void encode_lsmt_padding(void* bytes) {
  const uint64_t w[2] = {Segment::kMaxOffset, 0};
  std::memcpy(bytes, w, sizeof w);
}

std::string normalize_uuid(const std::string& uuid) {
  if (uuid.empty()) return kNoUuid;
  std::string out = uuid;
  bool good = uuid.size() == kUuidLength;
  for (size_t i = 0; good && i < out.size(); i++) {
    const auto c = static_cast<unsigned char>(out[i]);
    good = (i == 8 || i == 13 || i == 18 || i == 23) ? c == '-' : std::isxdigit(c) != 0;
    out[i] = static_cast<char>(std::toupper(c));
  }
  if (!good) throw std::invalid_argument("uuid \"" + uuid + "\" is not of the form 8-4-4-4-12 hex digits");
  return out;
}

}  // namespace obd

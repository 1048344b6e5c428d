#include "blob/tar_entry.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "blob/local_blob.h"
#include "error.h"

namespace obd {
namespace {

constexpr size_t kBlock = 512;

struct Field {
  size_t offset, length;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kUname{265, 32}, kGname{297, 32};
constexpr size_t kTypeflag = 156, kMagic = 257, kVersion = 263;

// The number in an octal field: leading spaces, digits, then a space or NUL. Anything else gives false.
bool parse_octal(const char* block, Field f, uint64_t& value) {
  value = 0;
  size_t i = f.offset;
  const size_t end = f.offset + f.length;
  while (i < end && block[i] == ' ') i++;
  for (; i < end && block[i] >= '0' && block[i] <= '7'; i++) value = value * 8 + static_cast<uint64_t>(block[i] - '0');
  return i == end || block[i] == ' ' || block[i] == '\0';
}

bool is_tar_header(const char* block) {
  if (std::memcmp(block + kMagic, "ustar", 5) != 0 || std::memcmp(block + kVersion, "00", 2) != 0) return false;
  uint64_t expected;
  if (!parse_octal(block, kChecksum, expected)) return false;
  int64_t unsigned_sum = 0, signed_sum = 0;
  for (size_t i = 0; i < kBlock; i++) {
    const bool in_checksum = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    const char c = in_checksum ? ' ' : block[i];
    unsigned_sum += static_cast<unsigned char>(c);
    signed_sum += static_cast<signed char>(c);
  }
  return static_cast<int64_t>(expected) == unsigned_sum || static_cast<int64_t>(expected) == signed_sum;
}

// The value of the pax record "size", 0 when there is none. Records are "<length> <key>=<value>\n".
uint64_t pax_size(const char* records, size_t length) {
  size_t pos = 0;
  while (pos < length) {
    size_t record = 0, i = pos;
    while (i < length && records[i] >= '0' && records[i] <= '9' && record < 1000000) {
      record = record * 10 + static_cast<size_t>(records[i++] - '0');
    }
    if (i >= length || records[i] != ' ' || record <= i - pos || record > length - pos) return 0;
    const std::string body(records + i + 1, records + pos + record);
    if (body.compare(0, 5, "size=") == 0) {
      uint64_t value = 0;
      for (size_t d = 5; d < body.size() && body[d] >= '0' && body[d] <= '9'; d++) {
        if (value > UINT64_MAX / 16) return 0;
        value = value * 10 + static_cast<uint64_t>(body[d] - '0');
      }
      return value;
    }
    pos += record;
  }
  return 0;
}

void put(char* block, Field f, const char* text) { std::memcpy(block + f.offset, text, std::strlen(text)); }

void put_checksum(char* block) {
  std::memset(block + kChecksum.offset, ' ', kChecksum.length);
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; i++) sum += static_cast<unsigned char>(block[i]);
  char text[16];
  std::snprintf(text, sizeof text, "%6o ", sum);
  std::memcpy(block + kChecksum.offset, text, 8);  // with the NUL
}

}  // namespace

bool try_unwrap_tar(const std::shared_ptr<Blob>& blob, std::shared_ptr<Blob>& payload, Misses& misses) {
  payload = blob;
  char head[kTarWrapHead];
  const size_t have = static_cast<size_t>(std::min<uint64_t>(sizeof head, blob->size()));
  if (have < kBlock) return true;
  if (!blob->try_read(head, have, 0, misses)) return false;
  if (!is_tar_header(head)) return true;

  uint64_t offset = kBlock, size = 0;
  if (head[kTypeflag] == 'x') {
    if (have < sizeof head) throw FormatError(blob->name(), have, "tar: the blob ends inside the tar headers");
    uint64_t records = 0;
    parse_octal(head, kSize, records);
    offset = kTarWrapHead;
    size = pax_size(head + kBlock, static_cast<size_t>(std::min<uint64_t>(records, kBlock)));
    if (size == 0) parse_octal(head + 2 * kBlock, kSize, size);
  } else {
    parse_octal(head, kSize, size);
  }
  if (offset > blob->size() || size > blob->size() - offset) {
    throw FormatError(blob->name(), offset, "tar: the entry has " + std::to_string(size) + " bytes, the blob only " +
                                                std::to_string(blob->size()) + ": it is truncated");
  }
  payload = std::make_shared<WindowBlob>(blob, offset, size);
  return true;
}

std::string tar_wrap_head(uint64_t payload_size) {
  char blocks[kTarWrapHead] = {};

  // "<length> size=<n>\n", where the length counts its own digits.
  const std::string body = " size=" + std::to_string(payload_size) + "\n";
  size_t length = body.size() + 1;
  while (std::to_string(length).size() + body.size() != length) length++;
  const std::string record = std::to_string(length) + body;

  char size_text[16];
  std::snprintf(size_text, sizeof size_text, "%11zo ", record.size());
  char* pax = blocks;
  put(pax, kName, "overlaybd.pax");
  put(pax, kSize, size_text);
  pax[kTypeflag] = 'x';
  put(pax, {kMagic, 6}, "ustar");
  put(pax, {kVersion, 2}, "00");
  put_checksum(pax);

  std::memcpy(blocks + kBlock, record.data(), record.size());

  char* entry = blocks + 2 * kBlock;
  put(entry, kName, "overlaybd.commit");
  put(entry, kMode, "100644 ");
  put(entry, kUid, "     0 ");
  put(entry, kGid, "     0 ");
  put(entry, kSize, "          0 ");
  put(entry, kMtime, "          0 ");
  entry[kTypeflag] = '0';
  put(entry, {kMagic, 6}, "ustar");
  put(entry, {kVersion, 2}, "00");
  put(entry, kUname, "root");
  put(entry, kGname, "root");
  put_checksum(entry);
  return std::string(blocks, sizeof blocks);
}

uint64_t tar_wrap_tail(uint64_t payload_size) {
  return (kBlock - payload_size % kBlock) % kBlock + 2 * kBlock;
}

}  // namespace obd

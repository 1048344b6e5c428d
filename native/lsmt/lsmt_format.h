// The bytes of LSMT files: the 4096-byte header and trailer, and the 16-byte index record
// (FORMATS.md 2.1, 2.2).
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "lsmt/segment.h"

namespace obd {

constexpr size_t kLsmtHeaderSize = 4096;
constexpr size_t kLsmtRecordSize = 16;
constexpr uint64_t kLsmtMaxSealedRecords = 1000000;     // what the reference reader accepts
constexpr uint64_t kLsmtMaxWritableRecords = 128000000;
constexpr const char* kNoUuid = "00000000-0000-0000-0000-000000000000";

struct LsmtHeader {
  static constexpr uint32_t kIsHeader = 1, kDataFile = 2, kSealed = 4, kSparse = 16;

  uint32_t flags = 0;
  uint64_t index_offset = 0;  // bytes
  uint64_t index_size = 0;    // records
  uint64_t virtual_size = 0;  // bytes
  std::string uuid = kNoUuid;
  std::string parent_uuid = kNoUuid;
  std::string user_tag;       // at most 256 bytes

  bool has(uint32_t flag) const { return (flags & flag) != 0; }
};

// Whether the bytes (at least 24) begin with the LSMT magics.
bool has_lsmt_magic(const void* block);
LsmtHeader decode_lsmt_header(const void* block);
// Encodes into 4096 bytes, zero padded.
void encode_lsmt_header(const LsmtHeader& header, void* block);

// An index record as it is on disk, before any check.
struct LsmtRecord {
  uint64_t offset, length, moffset, tag;
  bool zeroed;
  // The padding record, which readers drop wherever it occurs.
  bool is_padding() const { return offset == Segment::kMaxOffset; }
};
LsmtRecord decode_lsmt_record(const void* bytes);
void encode_lsmt_record(const Segment& s, void* bytes);
void encode_lsmt_padding(void* bytes);

// Upper-cases `uuid` when it is 36 characters of hex digits and dashes in the right places; throws
// std::invalid_argument naming it otherwise. An empty one gives the zero uuid.
std::string normalize_uuid(const std::string& uuid);

}  // namespace obd

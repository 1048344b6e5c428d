#include "lsmt/trace_file.h"

#include <cstring>

#include "error.h"
#include "zfile/crc32c.h"

namespace obd {
namespace {

constexpr uint32_t kMagic = 0xc2ef1820;
constexpr size_t kHeaderSize = 24, kRecordSize = 24;
constexpr size_t kDataSizeAt = 8, kChecksumAt = 16;             // in the header
constexpr size_t kLayerAt = 4, kCountAt = 8, kOffsetAt = 16;    // in a record, which begins with the operation
constexpr char kRead = 'R';

template <typename T>
T load(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T>
void store(std::string& bytes, size_t offset, T value) {
  std::memcpy(&bytes[offset], &value, sizeof value);
}

}  // namespace

bool is_trace(const std::string& bytes) { return bytes.size() >= sizeof kMagic && load<uint32_t>(bytes, 0) == kMagic; }

std::vector<TraceRecord> parse_trace(const std::string& bytes, const std::string& name) {
  auto fail = [&](size_t at, const std::string& problem) { throw FormatError(name, at, "trace: " + problem); };
  if (!is_trace(bytes) || bytes.size() < kHeaderSize) fail(0, "it does not begin as one");
  if (load<uint64_t>(bytes, kDataSizeAt) != bytes.size() - kHeaderSize) fail(kDataSizeAt, "it was cut short");
  if ((bytes.size() - kHeaderSize) % kRecordSize != 0) fail(kDataSizeAt, "the last record is not whole");
  // Over all bytes, those that no field takes included.
  if (crc32c_raw(bytes.data() + kHeaderSize, bytes.size() - kHeaderSize, 0) != load<uint32_t>(bytes, kChecksumAt)) {
    fail(kChecksumAt, "the records do not match their checksum");
  }
  std::vector<TraceRecord> records;
  for (size_t at = kHeaderSize; at < bytes.size(); at += kRecordSize) {
    if (bytes[at] != kRead) continue;  // others are reserved
    records.push_back({load<uint32_t>(bytes, at + kLayerAt), load<uint64_t>(bytes, at + kOffsetAt), load<uint64_t>(bytes, at + kCountAt)});
  }
  return records;
}

std::string write_trace(const std::vector<TraceRecord>& records) {
  std::string bytes(kHeaderSize + records.size() * kRecordSize, '\0');
  size_t at = kHeaderSize;
  for (const TraceRecord& r : records) {
    bytes[at] = kRead;
    store(bytes, at + kLayerAt, r.layer);
    store(bytes, at + kCountAt, r.count);
    store(bytes, at + kOffsetAt, r.offset);
    at += kRecordSize;
  }
  store(bytes, 0, kMagic);
  store<uint64_t>(bytes, kDataSizeAt, bytes.size() - kHeaderSize);
  store(bytes, kChecksumAt, crc32c_raw(bytes.data() + kHeaderSize, bytes.size() - kHeaderSize, 0));
  return bytes;
}

}  // namespace obd

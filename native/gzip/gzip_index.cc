#include "gzip/gzip_index.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "error.h"
#include "zfile/crc32c.h"

namespace obd {
namespace {

constexpr char kMagic[8] = {'d', 'd', 'g', 'z', 'i', 'd', 'x', '\0'};
constexpr size_t kHeaderSize = 333, kCrcOffset = 329;
constexpr size_t kEntrySize = 29;
constexpr uint64_t kMaxEntries = 1000000;

template <typename T>
T load(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Unpacks a zlib stream that holds exactly `count` bytes.
bool unpack(const char* packed, size_t packed_size, void* out, size_t count) {
  uLongf written = count;
  uLong used = packed_size;
  return ::uncompress2(static_cast<Bytef*>(out), &written, reinterpret_cast<const Bytef*>(packed), &used) == Z_OK &&
         written == count;
}

}  // namespace

GzipIndex::GzipIndex(std::string bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {
  if (bytes_.size() < kHeaderSize || std::memcmp(bytes_.data(), kMagic, sizeof kMagic) != 0) fail(0, "it does not begin as one");
  if (crc32c_raw(bytes_.data(), kCrcOffset, 0) != load<uint32_t>(bytes_, kCrcOffset)) {
    fail(kCrcOffset, "the header does not match its checksum");
  }
  const auto version = load<uint8_t>(bytes_, 8);
  if (version != 1) fail(8, "version " + std::to_string(version) + ", 1 expected");
  const auto algorithm = load<uint8_t>(bytes_, 10);
  if (algorithm > 1) fail(10, "unknown compression " + std::to_string(algorithm));
  compressed_ = algorithm == 1;
  if (load<uint32_t>(bytes_, 17) != kDeflateWindow) fail(17, "windows of 32768 bytes expected");
  if (load<uint32_t>(bytes_, 21) != kEntrySize) fail(21, "entries of 29 bytes expected");
  const auto count = load<uint64_t>(bytes_, 25);
  gzip_size_ = load<uint64_t>(bytes_, 33);
  plain_size_ = load<uint64_t>(bytes_, 49);
  if (load<uint64_t>(bytes_, 41) != bytes_.size()) fail(41, "it was cut short, or is damaged");
  if (count > kMaxEntries) fail(25, std::to_string(count) + " entries, at most " + std::to_string(kMaxEntries) + " are possible");
  const auto start = load<uint64_t>(bytes_, 313), length = load<uint64_t>(bytes_, 321);
  if (start < kHeaderSize || start > bytes_.size() || length != bytes_.size() - start) fail(313, "the table of entries lies outside of it");

  std::string table(count * kEntrySize, '\0');
  if (!compressed_ && length != table.size()) fail(start, "the table of entries has another size than the header says");
  if (!compressed_) table = bytes_.substr(start);
  if (compressed_ && !unpack(bytes_.data() + start, length, table.data(), table.size())) fail(start, "the table of entries is damaged");
  parse_entries(table);
}

void GzipIndex::fail(uint64_t offset, const std::string& problem) const {
  throw FormatError(name_, offset, "gzip index: " + problem);
}

void GzipIndex::parse_entries(const std::string& table) {
  entries_.reserve(table.size() / kEntrySize);
  for (size_t at = 0; at < table.size(); at += kEntrySize) {
    GzipEntry e{};
    e.plain = load<uint64_t>(table, at);
    e.packed = load<uint64_t>(table, at + 8);
    e.window = load<uint64_t>(table, at + 16);
    e.bits = load<uint8_t>(table, at + 24);
    e.window_size = load<uint32_t>(table, at + 25);
    const std::string which = "entry " + std::to_string(entries_.size());
    if (entries_.empty() ? e.plain != 0 : e.plain <= entries_.back().plain) fail(0, which + " is out of order");
    if (!entries_.empty() && e.packed <= entries_.back().packed) fail(0, which + " is out of order");
    if (e.plain > plain_size_ || e.packed > gzip_size_ || e.bits > 7 || (e.bits > 0 && e.packed == 0)) fail(0, which + " points outside the file");
    if (e.window > bytes_.size() || e.window_size > bytes_.size() - e.window) fail(0, which + " has no window");
    if (!compressed_ && e.window_size != kDeflateWindow) fail(0, which + " has a window of another size");
    if (e.plain < plain_size_) entries_.push_back(e);  // otherwise nothing but empty blocks comes after it
  }
  if (entries_.empty() && plain_size_ > 0) fail(25, "it has no entry");
  for (size_t i = 0; i < entries_.size(); i++) {
    const uint64_t plain = plain_end(i) - entries_[i].plain, packed = packed_end(i) - entries_[i].packed;
    if (plain > kMaxSpan || packed > kMaxSpan) {
      fail(0, std::to_string(std::max(plain, packed)) + " bytes between two entries, more than " + std::to_string(kMaxSpan) +
                  ": too far apart for random access");
    }
  }
}

size_t GzipIndex::find(uint64_t plain) const {
  const auto after = std::upper_bound(entries_.begin(), entries_.end(), plain,
                                      [](uint64_t at, const GzipEntry& e) { return at < e.plain; });
  return static_cast<size_t>(after - entries_.begin()) - 1;
}

void GzipIndex::read_window(size_t i, unsigned char (&window)[kDeflateWindow]) const {
  const GzipEntry& e = entries_[i];
  const char* stored = bytes_.data() + e.window;
  if (!compressed_) {
    std::memcpy(window, stored, kDeflateWindow);
  } else if (!unpack(stored, e.window_size, window, kDeflateWindow)) {
    fail(e.window, "the window of entry " + std::to_string(i) + " is damaged");
  }
}

}  // namespace obd

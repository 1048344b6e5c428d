// The index of a gzip file, turboOCI's gzip.meta (FORMATS.md 6.2): places in the deflate stream where
// decompression can start, each with the 32 KiB of plain bytes before it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace obd {

constexpr size_t kDeflateWindow = 32 * 1024;

// A place where a deflate block begins.
struct GzipEntry {
  uint64_t plain;        // position in the plain bytes
  uint64_t packed;       // position in the gzip file, bytes
  unsigned bits;         // 0 to 7: so many bits of the byte before `packed` are still to be read
  uint64_t window;       // where the window is in the index
  uint32_t window_size;  // bytes there
};

class GzipIndex {
 public:
  // Parses the bytes of an index file; errors call it `name`. Throws FormatError for a damaged one, and for
  // one whose places are too far apart for random access (kMaxSpan).
  GzipIndex(std::string bytes, std::string name);

  uint64_t gzip_size() const { return gzip_size_; }    // bytes of the gzip file
  uint64_t plain_size() const { return plain_size_; }  // bytes of its content
  const std::vector<GzipEntry>& entries() const { return entries_; }
  // The last entry at or before a position; there is one for every position inside the content.
  size_t find(uint64_t plain) const;
  // Where the piece that begins at entry `i` ends: at the next entry, the last one with the content, and in
  // the gzip file with the file.
  uint64_t plain_end(size_t i) const { return i + 1 < entries_.size() ? entries_[i + 1].plain : plain_size_; }
  uint64_t packed_end(size_t i) const { return i + 1 < entries_.size() ? entries_[i + 1].packed : gzip_size_; }
  // The plain bytes before entry `i`, zeros before the first byte of all. Throws FormatError.
  void read_window(size_t i, unsigned char (&window)[kDeflateWindow]) const;

  // The most bytes, plain or packed, from one entry to the next. Deflate blocks of real encoders stay below
  // 10 MB; the reference's index has an entry a MiB where blocks allow it.
  static constexpr uint64_t kMaxSpan = 64 << 20;

 private:
  void parse_entries(const std::string& table);
  [[noreturn]] void fail(uint64_t offset, const std::string& problem) const;

  std::string bytes_, name_;
  bool compressed_ = true;  // windows and table are zlib streams
  uint64_t gzip_size_ = 0, plain_size_ = 0;
  std::vector<GzipEntry> entries_;
};

}  // namespace obd

// Reads a tar stream: v7, ustar, pax, GNU (long names, base-256 numbers, sparse files). Names are raw bytes.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.h"
#include "files/byte_stream.h"

namespace obd::files {

struct TarEntry {
  std::string name, link;
  char type = '0';  // '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory, '6' fifo
  char stored_type = '0';  // as the archive has it: '7' (contiguous) and 'S' (GNU sparse) are files as well
  uint32_t mode = 0;
  uint32_t uid = 0, gid = 0;
  uint64_t size = 0;       // of the file, holes included
  int64_t mtime = 0;       // nanoseconds since the epoch
  uint32_t major = 0, minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
  bool sparse = false;
  std::vector<std::pair<uint64_t, uint64_t>> data;  // sparse: (offset, length) of what is not a hole
};

// The archive ends before its last entry does.
class TarCutShort : public FormatError {
  using FormatError::FormatError;
};

class TarReader {
 public:
  explicit TarReader(ByteSource& source) : source_(source) {}

  // Moves to the next entry (pax and GNU extensions applied); false at the end of the archive. Throws
  // FormatError for what is no tar, or one cut short.
  bool next(TarEntry& entry);

  // The next piece of the entry's stored bytes, valid until the next call; empty at their end.
  std::string_view data();

  // Reads what follows the archive up to the stream's end.
  void drain();

 private:
  struct Header;
  using Records = std::map<std::string, std::string>;
  [[noreturn]] void fail(const std::string& problem) const;
  [[noreturn]] void cut_short() const;
  bool fill();
  bool read_block(char* block);
  void skip_entry();
  std::string read_whole(uint64_t size);
  Records parse_pax(const std::string& text) const;
  void apply_header(const Header& header, TarEntry& entry) const;
  void apply_records(const Records& records, TarEntry& entry);
  void sparse_from_records(const Records& records, TarEntry& entry);
  void sparse_from_header(const Header& header, TarEntry& entry);
  void check_sparse(TarEntry& entry) const;
  int64_t number(std::string_view field) const;
  uint64_t decimal(std::string_view text) const;
  int64_t seconds(std::string_view text) const;

  ByteSource& source_;
  std::string_view rest_;    // of the current chunk
  uint64_t position_ = 0;    // in the stream
  uint64_t left_ = 0;        // stored bytes of the entry still unread
  uint64_t padding_ = 0;     // after them
};

}  // namespace obd::files

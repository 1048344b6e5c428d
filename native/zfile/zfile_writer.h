// Writes a ZFile from a source of known size, on any number of threads, with the same bytes for every
// number of them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "zfile/zfile.h"
#include "zfile/zfile_format.h"

namespace obd {

// Plain bytes that can be read at any place by several threads at once.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  virtual void read(void* buf, size_t count, uint64_t offset) = 0;
};

struct ZFileOptions {
  ZFileAlgorithm algorithm = ZFileAlgorithm::lz4;
  // Bytes, a power of two from 4096 to 32768: larger ones the reference reader cannot always read.
  uint32_t block_size = 4096;
  // The header is completed as overlaybd-commit does it; otherwise only the trailer is (overlaybd-zfile).
  bool completed_header = true;
  unsigned threads = 1;
};

// Throws std::invalid_argument for a block size that must not be written.
void check_zfile_options(const ZFileOptions& options);

// Writes the ZFile of `source` into `fd` from file offset `at` on and returns its size in bytes. `name` is
// what errors call the file. What was written before an exception stays in the file.
uint64_t write_zfile(ByteSource& source, const ZFileOptions& options, int fd, uint64_t at, const std::string& name);

// Whether blocks of that ZFile are what these options would give.
bool can_keep_blocks(const ZFileHeader& header, const ZFileOptions& options);

// Blocks that another ZFile has already.
struct KeptBlocks {
  const ZFile& from;
  uint64_t begin, end;  // numbers of blocks, the same in both files
};

// The same, with the stored bytes of `kept` taken over as they are. The source need not give these blocks.
// Throws std::invalid_argument when the two files are not made alike, FormatError for a block that does not
// match its checksum.
uint64_t write_zfile_keeping(ByteSource& source, const KeptBlocks& kept, const ZFileOptions& options, int fd, uint64_t at,
                             const std::string& name);

}  // namespace obd

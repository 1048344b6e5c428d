// Decompression of a stream whose kind its first bytes tell: gzip, bzip2, xz, zstd, or none of them.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "files/byte_stream.h"
#include "files/decoders.h"

namespace obd::files {

class Decompressor {
 public:
  // Reads the first bytes to see what it is.
  explicit Decompressor(ByteSource& in);
  bool compressed() const { return kind_ != Compression::none; }
  // Reads to the end and hands the decompressed bytes on; of damaged or truncated data what comes before the
  // fault, then throws FsError (EBADMSG). Throws whatever source and `out` throw.
  void run(const std::function<void(std::string_view)>& out);

 private:
  std::string_view next();
  void decode(const std::function<void(std::string_view)>& out);

  ByteSource& in_;
  std::string head_;  // what was looked at; comes first again
  bool head_given_ = false;
  Compression kind_;
};

}  // namespace obd::files

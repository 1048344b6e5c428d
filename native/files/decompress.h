// Decompression of a stream whose kind its first bytes tell: gzip, bzip2, xz, zstd, or none of them.
#pragma once
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "files/byte_stream.h"

struct archive;

namespace obd::files {

class Decompressor {
 public:
  // Reads the first bytes to see what it is.
  explicit Decompressor(ByteSource& in);
  bool compressed() const { return compressed_; }
  // Reads to the end and hands the decompressed bytes on. Throws FsError (EBADMSG) for damaged or truncated
  // data, and whatever source and `out` throw.
  void run(const std::function<void(std::string_view)>& out);

 private:
  std::string_view next();
  void run_libarchive(const std::function<void(std::string_view)>& out);
  static long feed(struct archive* archive, void* self, const void** bytes);
  void check(struct archive* archive, int rc) const;

  ByteSource& in_;
  std::string head_;  // what was looked at; comes first again
  bool head_given_ = false;
  bool compressed_;
  std::exception_ptr failure_;
};

}  // namespace obd::files

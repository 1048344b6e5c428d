// Writes a layer blob: hashes the tar, compresses it, hashes that, and writes it out, on threads of its own
// while the caller makes the tar.
#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

#include "files/byte_stream.h"
#include "files/sha256.h"
#include "files/task.h"

namespace obd::files {

enum class Compression { none, gzip, zstd };

struct BlobResult {
  Digest digest;      // of the bytes written
  Digest diff_id;     // of the tar
  uint64_t size = 0;  // bytes written
};

class BlobWriter {
 public:
  // `fd` stays the caller's. `level`: the codec's; INT_MIN = its default. `name` for messages.
  BlobWriter(int fd, std::string name, Compression compression, int level, Task& task);
  ~BlobWriter();

  // Takes the next bytes of the tar; waits while too many are on their way. Throws what writing failed with.
  void write(std::string_view bytes) { queue_.push(bytes); }
  BlobResult finish();

 private:
  void run(Compression compression, int level);
  void put(std::string_view bytes);

  int fd_;
  std::string name_;
  Task& task_;
  ByteQueue queue_;
  Sha256 blob_hash_;
  BlobResult result_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace obd::files

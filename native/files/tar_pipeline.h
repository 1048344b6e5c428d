// Unpacks a tar stream that arrives in pieces: one thread hashes and decompresses, one hashes the tar and
// makes the files.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "files/byte_stream.h"
#include "files/sha256.h"
#include "files/task.h"
#include "files/unpacker.h"

namespace obd::files {

struct UnpackResult {
  Digest digest;      // of the bytes as given
  Digest diff_id;     // of the uncompressed tar
  uint64_t size = 0;  // bytes as given
  uint64_t entries = 0;
};

class TarPipeline {
 public:
  // Starts the threads. Throws FsError when `root` is no directory.
  TarPipeline(const std::string& root, const UnpackOptions& options, std::shared_ptr<Task> task);
  ~TarPipeline() { cancel(); }

  // Takes bytes without waiting; false when the caller should `wait_room` before the next ones. Throws
  // what the unpacking failed with.
  bool write(std::string_view bytes) { return in_.offer(bytes); }
  void wait_room() { in_.wait_room(); }
  // All bytes were written: waits for the end of the work. Throws what it failed with.
  UnpackResult finish();
  // Stops the threads and waits for their end; what was unpacked stays. Fine at any time.
  void cancel();

 private:
  void run_decompress();
  void run_unpack();
  void drain(TarReader& reader) const;
  void join();

  std::mutex joining_;
  Root root_;
  UnpackOptions options_;
  std::shared_ptr<Task> task_;
  ByteQueue in_, tar_;
  bool compressed_ = false;  // known before the first bytes are in `tar_`
  UnpackResult result_;
  std::exception_ptr failure_;  // of the unpacking thread, which sees every failure
  std::thread decompressing_, unpacking_;
};

// Unpacks an open tar file into a root.
UnpackResult unpack_file(int fd, const std::string& name, const std::string& root, const UnpackOptions& options,
                         std::shared_ptr<Task> task);

// Whether the open file begins with a tar header once decompressed, which is how ADD tells archives.
bool is_archive(int fd);

}  // namespace obd::files

// One remote blob's entry in the block cache: a sparse file that holds the extents fetched so far and a
// table that says which, with a checksum each. Several processes may use one file at once, and it may be
// deleted at any time: whoever has it open goes on.
//
//   [header 4096][table: 8 bytes an extent, rounded up to 4096][data: extent i at data_start + i * 64 KiB]
//
// A table entry is written after its data, and an entry is trusted only once its checksum was compared in
// this process: what a crash or the disk tore is found and fetched again.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "system/unique_fd.h"

namespace obd {

constexpr uint64_t kExtentSize = 64 * 1024;

class CacheFile {
 public:
  // Opens or creates the entry of blob `digest` (`size` bytes) in directory `dir`. A file that is not a
  // cache entry of that blob is replaced. Throws std::system_error.
  CacheFile(const std::string& dir, const std::string& digest, uint64_t size);

  uint64_t extents() const { return extents_; }
  uint64_t extent_length(uint64_t extent) const;  // bytes; the last one may be short
  // Whether the extent is here and sound. Compares its checksum the first time.
  bool has(uint64_t extent);
  // How many extents right before this one are known to be here, up to `limit`. Does no I/O.
  uint64_t run_before(uint64_t extent, uint64_t limit) const;
  // Reads inside extents that has() said yes to. False when the bytes are gone (the file was truncated).
  bool read(void* buf, size_t count, uint64_t offset);
  // Stores a whole extent. Throws std::system_error.
  void store(uint64_t extent, const void* data);
  // Forgets the extent, here and for other processes.
  void forget(uint64_t extent) noexcept;

 private:
  void create();
  bool matches_header() const;
  bool check_on_disk(uint64_t extent);

  std::string path_;
  std::string digest_;
  uint64_t size_;
  uint64_t extents_;
  uint64_t data_start_;
  UniqueFd fd_;
  std::unique_ptr<std::atomic<bool>[]> sound_;  // checked in this process
};

}  // namespace obd

// A blob in a registry, read through its block cache entry. It never fetches by itself: try_read()
// reports what is missing, FetchManager gets it and calls store().
#pragma once
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "blob/blob.h"
#include "blob/cache_file.h"

namespace obd {

class RemoteBlob final : public Blob, public std::enable_shared_from_this<RemoteBlob> {
 public:
  // `source` says where the blob is; it is handed to whoever fetches and not looked at here.
  // `cache_dir` must exist. Throws std::system_error.
  RemoteBlob(std::string digest, uint64_t size, std::string source, const std::string& cache_dir);

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return digest_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  // Says yes once in a minute for each extent: bytes that are still wrong after a second fetch are what
  // the registry has. Either way the extents are forgotten.
  bool distrust(uint64_t offset, size_t count, Misses& misses) override;

  const std::string& source() const { return source_; }
  bool has(uint64_t extent) { return cache_.has(extent); }
  uint64_t extents() const { return cache_.extents(); }
  uint64_t run_before(uint64_t extent, uint64_t limit) const { return cache_.run_before(extent, limit); }
  uint64_t extent_length(uint64_t extent) const { return cache_.extent_length(extent); }
  // Stores one whole extent. Throws std::system_error.
  void store(uint64_t extent, const void* data) { cache_.store(extent, data); }

 private:
  const std::string digest_;
  const uint64_t size_;
  const std::string source_;
  CacheFile cache_;
  std::mutex doubts_mutex_;
  std::unordered_map<uint64_t, std::chrono::steady_clock::time_point> doubts_;  // by extent
};

}  // namespace obd

#include "blob/remote_blob.h"

#include "blob/local_blob.h"

namespace obd {
namespace {
constexpr auto kDoubtAgainAfter = std::chrono::minutes(1);
}

RemoteBlob::RemoteBlob(std::string digest, uint64_t size, std::string source, const std::string& cache_dir)
    : digest_(std::move(digest)), size_(size), source_(std::move(source)), cache_(cache_dir, digest_, size) {}

bool RemoteBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(digest_, offset, count, size_);
  if (count == 0) return true;
  const uint64_t first = offset / kExtentSize;
  const uint64_t last = (offset + count - 1) / kExtentSize;
  bool whole = true;
  for (uint64_t extent = first; extent <= last; ++extent) {
    if (!cache_.has(extent)) {
      misses.push_back({this, extent});
      whole = false;
    }
  }
  if (!whole) return false;
  if (cache_.read(buf, count, offset)) return true;
  for (uint64_t extent = first; extent <= last; ++extent) {
    cache_.forget(extent);
    misses.push_back({this, extent});
  }
  return false;
}

bool RemoteBlob::distrust(uint64_t offset, size_t count, Misses& misses) {
  check_inside(digest_, offset, count, size_);
  if (count == 0) return false;
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(doubts_mutex_);
  bool worth_it = true;
  for (uint64_t extent = offset / kExtentSize; extent <= (offset + count - 1) / kExtentSize; ++extent) {
    cache_.forget(extent);
    const auto [doubt, first_time] = doubts_.try_emplace(extent, now);
    if (!first_time) {
      if (now - doubt->second < kDoubtAgainAfter) worth_it = false;
      doubt->second = now;
    }
  }
  if (!worth_it) return false;
  for (uint64_t extent = offset / kExtentSize; extent <= (offset + count - 1) / kExtentSize; ++extent) {
    misses.push_back({this, extent});
  }
  return true;
}

}  // namespace obd

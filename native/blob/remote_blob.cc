#include "blob/remote_blob.h"

#include "blob/local_blob.h"
#include "blob/read_trace.h"
#include "error.h"

namespace obd {
namespace {
constexpr auto kDoubtAgainAfter = std::chrono::minutes(1);
}

RemoteBlob::RemoteBlob(std::string digest, uint64_t size, std::string source, const std::string& cache_dir)
    : digest_(std::move(digest)), size_(size), source_(std::move(source)), cache_(cache_dir, digest_, size) {}

void RemoteBlob::set_blocks(std::unique_ptr<const BlockMap> blocks) {
  blocks_ = std::move(blocks);
  cache_.set_layout(ExtentLayout(size_, blocks_.get()));
}

std::string RemoteBlob::check(uint64_t extent, const void* data) const {
  return blocks_ ? blocks_->check(data, layout().length(extent), layout().start(extent)) : "";
}

bool RemoteBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(digest_, offset, count, size_);
  if (count == 0) return true;
  if (condemned_.load(std::memory_order_acquire)) throw FormatError(digest_, offset, condemned_because_);
  const uint64_t first = layout().at(offset);
  const uint64_t last = layout().at(offset + count - 1);
  bool whole = true;
  for (uint64_t extent = first; extent <= last; ++extent) {
    if (!cache_.has(extent)) {
      misses.push_back({this, extent});
      whole = false;
    }
  }
  if (ReadTrace* trace = ReadTrace::current()) trace->add(digest_, first, last, layout().count());
  if (!whole) return false;
  if (cache_.read(buf, count, offset)) {
    was_read_.store(true, std::memory_order_relaxed);
    uint64_t mark = call_at_.load(std::memory_order_acquire);
    if (mark >= first && mark <= last && call_at_.compare_exchange_strong(mark, UINT64_MAX)) (*passed_)(*this, mark);
    return true;
  }
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
  const uint64_t first = layout().at(offset), last = layout().at(offset + count - 1);
  const std::lock_guard lock(doubts_mutex_);
  bool worth_it = true;
  for (uint64_t extent = first; extent <= last; ++extent) {
    cache_.forget(extent);
    const auto [doubt, first_time] = doubts_.try_emplace(extent, now);
    if (!first_time) {
      if (now - doubt->second < kDoubtAgainAfter) worth_it = false;
      doubt->second = now;
    }
  }
  if (!worth_it) return false;
  for (uint64_t extent = first; extent <= last; ++extent) misses.push_back({this, extent});
  return true;
}

std::string RemoteBlob::check_whole() {
  const std::lock_guard lock(digest_mutex_);
  if (digest_checked_ || !cache_.is_complete()) return condemned_because_;
  digest_checked_ = true;
  if (digest_.compare(0, 7, "sha256:") != 0 || cache_.is_digest_checked()) return "";
  const std::string actual = cache_.compute_digest();
  if (actual == digest_) {
    cache_.set_digest_checked();
    return "";
  }
  if (!was_read_.load(std::memory_order_relaxed) && !fetched_again_) {
    fetched_again_ = true;
    digest_checked_ = false;
    cache_.forget_all();
    return "";
  }
  condemned_because_ = "the registry has other content under this digest: all of it has " + actual;
  condemned_.store(true, std::memory_order_release);
  cache_.forget_all();
  return condemned_because_;
}

}  // namespace obd

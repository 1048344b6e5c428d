#include "blob/remote_blob.h"

#include <cstring>

#include "blob/local_blob.h"
#include "blob/read_trace.h"
#include "error.h"
#include "zfile/scratch.h"

namespace obd {
namespace {
constexpr auto kDoubtAgainAfter = std::chrono::minutes(1);
// An extent that became smaller than this share is decompressed as fast as its content is read, and would fill the disk.
constexpr uint64_t kMaxExpansion = 8;
}

RemoteBlob::RemoteBlob(std::string digest, uint64_t size, std::string source, const std::string& cache_dir)
    : digest_(std::move(digest)), size_(size), source_(std::move(source)), cache_(cache_dir, digest_, size) {}

void RemoteBlob::set_blocks(std::unique_ptr<const BlockMap> blocks) {
  blocks_ = std::move(blocks);
  cache_.set_layout(ExtentLayout(size_, blocks_.get()), blocks_->plain_size());
}

uint64_t RemoteBlob::keep_plain(uint64_t first, uint64_t end, const char* data) {
  const std::shared_lock lock(plain_mutex_);
  if (!cache_.plain() || doubted_) return 0;
  thread_local Scratch scratch;
  char* const buf = scratch.get(kPlainPiece + kMaxExpansion * layout().longest());
  uint64_t at = 0, have = 0, kept = 0;  // plain bytes in buf
  const auto store = [&](uint64_t count) {
    cache_.plain()->store(buf, count, at);
    std::memmove(buf, buf + count, have - count);
    at += count;
    have -= count;
    kept += count;
  };
  for (uint64_t extent = first; extent < end; data += layout().length(extent++)) {
    const uint64_t start = layout().start(extent), length = layout().length(extent);
    const BlobRange plain = blocks_->plain_range({start, start + length});
    const uint64_t count = plain.end - plain.begin;
    if (count == 0 || count > kMaxExpansion * length) continue;
    if (plain.begin != at + have) {
      store(have);
      at = plain.begin;
    }
    if (!blocks_->decompress(data, length, start, buf + have)) continue;
    have += count;
    if (const uint64_t whole = (at + have) / kPlainPiece * kPlainPiece; whole > at) store(whole - at);
  }
  store(have);
  return kept;
}

void RemoteBlob::forget_all() {
  const std::lock_guard lock(plain_mutex_);
  doubted_ = true;
  cache_.forget_all();
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
    const CacheFile::State state = cache_.state(extent);
    if (state == CacheFile::State::sound) continue;
    misses.push_back(state == CacheFile::State::on_disk ? Miss::on_disk() : Miss{this, extent});
    whole = false;
  }
  if (ReadTrace* trace = ReadTrace::current()) trace->add(digest_, first, last, layout().count());
  if (!whole) return false;
  switch (cache_.read(buf, count, offset)) {
    case CacheFile::State::sound:
      note_read(first, last);
      return true;
    case CacheFile::State::on_disk:
      misses.push_back(Miss::on_disk());
      return false;
    case CacheFile::State::absent:
      break;
  }
  for (uint64_t extent = first; extent <= last; ++extent) {
    cache_.forget(extent);
    misses.push_back({this, extent});
  }
  return false;
}

bool RemoteBlob::try_read_plain(void* buf, size_t count, uint64_t offset) {
  if (!cache_.plain() || count == 0 || condemned_.load(std::memory_order_acquire)) return false;
  if (!cache_.plain()->read(buf, count, offset)) return false;
  const BlobRange stored = blocks_->stored_range({offset, offset + count});
  const uint64_t first = layout().at(stored.begin), last = layout().at(stored.end - 1);
  if (ReadTrace* trace = ReadTrace::current()) trace->add(digest_, first, last, layout().count());
  note_read(first, last);
  return true;
}

void RemoteBlob::note_read(uint64_t first, uint64_t last) {
  was_read_.store(true, std::memory_order_relaxed);
  uint64_t mark = call_at_.load(std::memory_order_acquire);
  if (mark >= first && mark <= last && call_at_.compare_exchange_strong(mark, UINT64_MAX)) (*passed_)(*this, mark);
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
    forget_all();
    return "";
  }
  condemned_because_ = "the registry has other content under this digest: all of it has " + actual;
  condemned_.store(true, std::memory_order_release);
  forget_all();
  return condemned_because_;
}

}  // namespace obd

#include "blob/opening_blob.h"

#include <algorithm>
#include <cstring>

#include "blob/local_blob.h"
#include "error.h"

namespace obd {
namespace {

// A trailer, the tar's end behind it, and all of a small index: one request for most small layers.
constexpr uint64_t kTail = 8192;
// What lies before an index is wanted next: the last blocks hold the index of the format inside.
constexpr uint64_t kBefore = 4096;
constexpr int kMaxDoubts = 2;

}  // namespace

bool OpeningBlob::copy(char* buf, size_t count, uint64_t offset) const {
  for (const BlobPiece& piece : pieces_) {
    if (offset < piece.offset || offset + count > piece.offset + piece.bytes.size()) continue;
    std::memcpy(buf, piece.bytes.data() + (offset - piece.offset), count);
    return true;
  }
  return false;
}

bool OpeningBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  if (finished_.load(std::memory_order_acquire)) return blob_->try_read(buf, count, offset, misses);
  check_inside(name(), offset, count, size());
  if (count == 0 || copy(static_cast<char*>(buf), count, offset)) return true;
  missing_.push_back({offset, offset + count});
  return false;
}

bool OpeningBlob::distrust(uint64_t offset, size_t count, Misses& misses) {
  if (finished_.load(std::memory_order_acquire)) return blob_->distrust(offset, count, misses);
  if (++doubts_ > kMaxDoubts) return false;
  start_over();
  return true;
}

void OpeningBlob::start_over() {
  pieces_.clear();
  again_ = true;
  missing_ = {{size() - std::min(kTail, size()), size()}};
}

void OpeningBlob::begin(FetchManager& fetches) {
  pieces_ = blob_->cache().opening_pieces();
  if (pieces_.empty() && size() > 0) fetch(fetches, {size() - std::min(kTail, size()), size()});
}

// One request from the first missing byte to the last, unless something lies between.
void OpeningBlob::fetch_missing(FetchManager& fetches) {
  std::sort(missing_.begin(), missing_.end(), [](const BlobRange& a, const BlobRange& b) { return a.begin < b.begin; });
  std::vector<BlobRange> ranges;
  for (const BlobRange& range : missing_) {
    if (!ranges.empty() && range.begin <= ranges.back().end + kBefore) {
      ranges.back().end = std::max(ranges.back().end, range.end);
    } else {
      ranges.push_back(range);
    }
  }
  missing_.clear();
  for (BlobRange& range : ranges) {
    range.begin -= std::min(range.begin, kBefore);
    fetch(fetches, range);
  }
  again_ = false;
}

// Only what is not there yet, as one piece with its neighbours.
void OpeningBlob::fetch(FetchManager& fetches, BlobRange range) {
  std::vector<BlobPiece> apart;
  BlobPiece joined{range.begin, ""};
  const auto fetch_to = [&](uint64_t end) {
    const uint64_t at = joined.offset + joined.bytes.size();
    if (at < end) joined.bytes += fetches.fetch_bytes(*blob_, at, end - at, again_);
  };
  for (BlobPiece& piece : pieces_) {
    const uint64_t end = piece.offset + piece.bytes.size();
    if (end < range.begin || piece.offset > range.end) {
      apart.push_back(std::move(piece));
      continue;
    }
    if (joined.bytes.empty() && piece.offset <= range.begin) {
      joined = std::move(piece);
      continue;
    }
    fetch_to(piece.offset);
    const uint64_t have = joined.offset + joined.bytes.size();
    if (have < end) joined.bytes += piece.bytes.substr(have - piece.offset);
  }
  fetch_to(range.end);
  apart.push_back(std::move(joined));
  std::sort(apart.begin(), apart.end(), [](const BlobPiece& a, const BlobPiece& b) { return a.offset < b.offset; });
  pieces_ = std::move(apart);
}

void OpeningBlob::finish() {
  blob_->cache().keep_opening_pieces(pieces_);
  pieces_.clear();
  pieces_.shrink_to_fit();
  finished_.store(true, std::memory_order_release);
}

}  // namespace obd

#include "gzip/piece_cache.h"

namespace obd {
namespace {
constexpr size_t kSharedBytes = 64 << 20;
}

PieceCache& PieceCache::shared() {
  // Never destroyed: serving threads use it until the process ends.
  static auto* cache = new PieceCache(kSharedBytes);
  return *cache;
}

PieceCache::Piece PieceCache::find(const void* file, size_t piece) {
  const std::lock_guard lock(mutex_);
  const auto found = kept_.find({file, piece});
  if (found == kept_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return found->second.bytes;
}

void PieceCache::keep(const void* file, size_t piece, Piece bytes) {
  const std::lock_guard lock(mutex_);
  const Key key{file, piece};
  if (bytes->size() > limit_ || kept_.count(key) > 0) return;
  size_ += bytes->size();
  uses_.push_front(key);
  kept_.emplace(key, Kept{std::move(bytes), uses_.begin()});
  while (size_ > limit_) drop(kept_.find(uses_.back()));
}

void PieceCache::forget(const void* file) {
  const std::lock_guard lock(mutex_);
  for (auto at = kept_.lower_bound({file, 0}); at != kept_.end() && at->first.first == file;) drop(at++);
}

void PieceCache::drop(std::map<Key, Kept>::iterator at) {
  size_ -= at->second.bytes->size();
  uses_.erase(at->second.use);
  kept_.erase(at);
}

}  // namespace obd

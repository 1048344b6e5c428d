#include "blob/wanted_extents.h"

#include <algorithm>
#include <iterator>

namespace obd {

void WantedExtents::add(RemoteBlob& blob, uint64_t extent, Waiters waiters) {
  Wanted& wanted = blobs_[&blob];
  if (!wanted.blob) {
    wanted.blob = blob.shared_from_this();
    turn_.push_back(&blob);
  }
  Waiters& present = wanted.extents[extent];
  present.insert(present.end(), std::make_move_iterator(waiters.begin()), std::make_move_iterator(waiters.end()));
}

Waiters* WantedExtents::find(RemoteBlob* blob, uint64_t extent) {
  const auto wanted = blobs_.find(blob);
  if (wanted == blobs_.end()) return nullptr;
  const auto found = wanted->second.extents.find(extent);
  return found == wanted->second.extents.end() ? nullptr : &found->second;
}

bool WantedExtents::take(RemoteBlob* blob, uint64_t extent, Waiters& waiters) {
  const auto wanted = blobs_.find(blob);
  if (wanted == blobs_.end()) return false;
  auto& extents = wanted->second.extents;
  const auto found = extents.find(extent);
  if (found == extents.end()) return false;
  waiters = std::move(found->second);
  extents.erase(found);
  if (extents.empty()) {
    turn_.erase(std::find(turn_.begin(), turn_.end(), blob));
    blobs_.erase(wanted);
  }
  return true;
}

std::pair<std::shared_ptr<RemoteBlob>, uint64_t> WantedExtents::next() {
  RemoteBlob* const blob = turn_.front();
  turn_.pop_front();
  turn_.push_back(blob);
  const Wanted& wanted = blobs_.at(blob);
  return {wanted.blob, wanted.extents.begin()->first};
}

}  // namespace obd

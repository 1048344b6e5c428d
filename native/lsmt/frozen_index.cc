#include "lsmt/frozen_index.h"

#include <utility>

namespace obd {

FrozenIndex::FrozenIndex(const std::vector<Segment>& segments) : segments_(segments) {
  if (segments.empty()) return;
  Level groups;
  for (size_t i = 0; i < segments.size(); i += PackedSegments::kGroup) groups.push_back(segments[i].offset);
  add_level(std::move(groups));
  // Every 16th entry of what is below, until one node is enough.
  while (levels_.back().size() > kFanout) {
    Level level;
    for (size_t i = 0; i < levels_.back().size(); i += kFanout) level.push_back(levels_.back()[i]);
    add_level(std::move(level));
  }
}

void FrozenIndex::add_level(Level level) {
  level.resize((level.size() + kFanout - 1) / kFanout * kFanout, UINT64_MAX);
  level.shrink_to_fit();
  levels_.push_back(std::move(level));
}

size_t FrozenIndex::memory() const {
  size_t bytes = segments_.memory();
  for (const Level& level : levels_) bytes += level.capacity() * sizeof(uint64_t);
  return bytes;
}

std::vector<Segment> FrozenIndex::segments() const {
  std::vector<Segment> all;
  all.reserve(size());
  for_each([&](const Segment& s) { all.push_back(s); });
  return all;
}

size_t FrozenIndex::find(uint64_t sector) const {
  if (levels_.empty()) return 0;
  // In each node: the last child that begins at or before `sector`. Only the leftmost ones may have none.
  size_t node = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    const uint64_t* const offsets = level->data() + node * kFanout;
    const size_t count = count_in_node([&](size_t i) { return offsets[i] <= sector; });
    node = node * kFanout + count - (count != 0);
  }
  return segments_.find(node, levels_[0][node], sector);
}

}  // namespace obd

#include "lsmt/frozen_index.h"

#include <algorithm>
#include <utility>

namespace obd {
namespace {

// For how many of a node's `n` children `holds` is true: four sums, since one would wait for itself each time.
template <size_t n, typename F>
size_t count_in_node(F holds) {
  static_assert(n % 4 == 0);
  size_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < n; i += 4) {
    a += holds(i);
    b += holds(i + 1);
    c += holds(i + 2);
    d += holds(i + 3);
  }
  return a + b + c + d;
}

}  // namespace

FrozenIndex::FrozenIndex(std::vector<Segment> segments) : segments_(std::move(segments)) {
  segments_.shrink_to_fit();
  // Every 16th entry of what is below, until one node is enough.
  for (size_t below = segments_.size(); below > kFanout;) {
    Level level;
    level.reserve((below / kFanout / kFanout + 1) * kFanout);
    for (size_t i = 0; i < below; i += kFanout) level.push_back(levels_.empty() ? segments_[i].offset : levels_.back()[i]);
    below = level.size();
    while (level.size() % kFanout != 0) level.push_back(UINT64_MAX);
    levels_.push_back(std::move(level));
  }
}

size_t FrozenIndex::memory() const {
  size_t bytes = segments_.capacity() * sizeof(Segment);
  for (const Level& level : levels_) bytes += level.capacity() * sizeof(uint64_t);
  return bytes;
}

size_t FrozenIndex::lower_bound(uint64_t sector) const {
  // In each node: the last child that begins at or before `sector`. Only the leftmost ones may have none.
  size_t node = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    const uint64_t* const offsets = level->data() + node * kFanout;
    const size_t count = count_in_node<kFanout>([&](size_t i) { return offsets[i] <= sector; });
    node = node * kFanout + count - (count != 0);
  }
  const size_t first = node * kFanout;
  const size_t size = std::min(kFanout, segments_.size() - first);
  const Segment* const group = segments_.data() + first;
  const auto ends_before = [&](size_t i) { return group[i].end() <= sector; };
  if (size == kFanout) return first + count_in_node<kFanout>(ends_before);
  size_t count = 0;
  for (size_t i = 0; i < size; ++i) count += ends_before(i);
  return first + count;
}

FrozenIndex FrozenIndex::overlay(const FrozenIndex& upper, uint64_t upper_source, const FrozenIndex& lower) {
  std::vector<Segment> out;
  out.reserve(upper.size() + lower.size());
  auto low = lower.segments_.begin();
  const auto low_end = lower.segments_.end();
  uint64_t covered = 0;  // everything below this sector is decided
  auto take_lower_until = [&](uint64_t limit) {
    while (low != low_end && low->offset < limit) {
      Segment s = *low;
      if (s.end() > limit) {
        s.end_at(limit);
      } else {
        ++low;
      }
      if (s.end() > covered) {
        if (s.offset < covered) s.advance_to(covered);
        out.push_back(s);
      }
      if (s.end() == limit) break;
    }
  };
  for (Segment s : upper.segments_) {
    take_lower_until(s.offset);
    while (low != low_end && low->end() <= s.end()) ++low;
    s.source = s.source + upper_source;
    out.push_back(s);
    covered = s.end();
  }
  take_lower_until(Segment::kMaxOffset + 1);
  return FrozenIndex(std::move(out));
}

}  // namespace obd

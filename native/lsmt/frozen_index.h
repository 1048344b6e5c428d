// An index that does not change any more: packed groups of segments, and above them a tree of the offsets at which
// the groups begin.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lsmt/node.h"
#include "lsmt/packed_segments.h"

namespace obd {

class FrozenIndex {
 public:
  FrozenIndex() = default;
  // `segments` are sorted by offset and do not overlap.
  explicit FrozenIndex(const std::vector<Segment>& segments);

  // Calls `visit(segment)` for each segment that meets [begin, end), clipped to it, in ascending order.
  template <typename F>
  void for_each(uint64_t begin, uint64_t end, F visit) const {
    for (size_t i = find(begin); i < size(); ++i) {
      Segment s = get(i);
      if (s.end() <= begin) continue;
      if (s.offset >= end) return;
      const bool last = s.end() >= end;
      s.end_at(std::min(s.end(), end));
      s.advance_to(std::max(s.begin(), begin));
      visit(s);
      if (last) return;
    }
  }

  // Calls `visit(segment)` for each segment, in ascending order.
  template <typename F>
  void for_each(F visit) const {
    for (size_t i = 0; i < size(); ++i) visit(get(i));
  }

  std::vector<Segment> segments() const;
  size_t size() const { return segments_.size(); }
  size_t memory() const;

 private:
  using Level = std::vector<uint64_t>;
  Segment get(size_t i) const { return segments_.get(i, levels_[0][i / PackedSegments::kGroup]); }
  void add_level(Level level);
  // The last segment that begins at or before `sector`, or the first of all if none does.
  size_t find(uint64_t sector) const;

  PackedSegments segments_;
  std::vector<Level> levels_;  // first where each group begins, then every 16th of these and so on; filled up to whole nodes
};

}  // namespace obd

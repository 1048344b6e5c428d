// An index that does not change any more: one sorted array, 16 bytes a segment, and above it a tree of the
// offsets at which groups of segments begin.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "lsmt/segment.h"

namespace obd {

class FrozenIndex {
 public:
  FrozenIndex() = default;
  // `segments` are sorted by offset and do not overlap.
  explicit FrozenIndex(std::vector<Segment> segments);

  // Lays `upper` over `lower`. The source numbers of `upper` are raised by `upper_source`.
  static FrozenIndex overlay(const FrozenIndex& upper, uint64_t upper_source, const FrozenIndex& lower);

  // Calls `visit(segment)` for each segment that meets [begin, end), clipped to it, in ascending order.
  template <typename F>
  void for_each(uint64_t begin, uint64_t end, F visit) const {
    for (size_t i = lower_bound(begin); i < segments_.size() && segments_[i].offset < end; i++) {
      Segment s = segments_[i];
      if (s.end() > end) s.end_at(end);
      if (s.offset < begin) s.advance_to(begin);
      visit(s);
    }
  }

  const std::vector<Segment>& segments() const { return segments_; }
  size_t size() const { return segments_.size(); }
  size_t memory() const;

 private:
  // Children of a node: their offsets fill two cache lines, and counting those below a sector takes no branch
  // that could be predicted wrong.
  static constexpr size_t kFanout = 16;
  using Level = std::vector<uint64_t>;
  // The first segment that ends after `sector`.
  size_t lower_bound(uint64_t sector) const;

  std::vector<Segment> segments_;
  std::vector<Level> levels_;  // the lowest, of every 16th segment, first; filled up to whole nodes
};

}  // namespace obd

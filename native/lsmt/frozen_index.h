// An index that does not change any more: packed groups of segments, the offsets at which they begin, and for slices of
// the disk, all of one length, the groups that these begin in.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

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
  Segment get(size_t i) const { return segments_.get(i, bases_[i / PackedSegments::kGroup]); }
  // The last segment that begins at or before `sector`, or the first of all if none does.
  size_t find(uint64_t sector) const;

  PackedSegments segments_;
  std::vector<uint64_t> bases_;    // where each group begins; then 16 that begin nowhere, to be counted without asking
  unsigned slice_bits_ = 0;        // log2 of sectors; there are at most as many slices as groups
  std::vector<uint32_t> slices_;   // the last group that begins at or before each; then the last of all
};

}  // namespace obd

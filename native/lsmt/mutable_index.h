// The index of what has been written: sorted chunks of up to 256 segments below one sorted array of
// their first offsets. Costs about 24 bytes a segment in random order at most, 17 in sequential order.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "lsmt/segment.h"

namespace obd {

class MutableIndex {
 public:
  // Maps s.offset .. s.end(), replacing what was mapped there. With `merge`, a segment that continues the
  // one before it, in the disk and in the source, is joined to it.
  void insert(Segment s, bool merge);

  // As FrozenIndex::for_each.
  template <typename F>
  void for_each(uint64_t begin, uint64_t end, F visit) const {
    if (chunks_.empty()) return;
    Place at = find(begin);
    for (; at.chunk < chunks_.size(); at.chunk++, at.slot = 0) {
      const Chunk& c = chunks_[at.chunk];
      for (; at.slot < c.size(); at.slot++) {
        Segment s = c[at.slot];
        if (s.offset >= end) return;
        if (s.end() > end) s.end_at(end);
        if (s.offset < begin) s.advance_to(begin);
        visit(s);
      }
    }
  }

  // All segments, ascending.
  std::vector<Segment> segments() const;
  size_t size() const { return size_; }
  size_t memory() const;

 private:
  using Chunk = std::vector<Segment>;
  struct Place {
    size_t chunk, slot;
  };
  static constexpr size_t kChunk = 256;

  // The first segment that ends after `sector`; slot may be the chunk's size (then the next chunk follows).
  Place find(uint64_t sector) const;
  void clear_range(uint64_t begin, uint64_t end);
  void insert_at(Place at, const Segment& s);
  void erase(size_t chunk, size_t from, size_t to);
  void join_small(size_t chunk);

  std::vector<uint64_t> first_;  // first_[i] == chunks_[i].front().offset
  std::vector<Chunk> chunks_;    // never empty ones
  size_t size_ = 0;
};

}  // namespace obd

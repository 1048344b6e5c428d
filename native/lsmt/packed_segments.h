// Sorted segments in as few bytes as their numbers need, 5 to 8 each where a Segment takes 16: an index of a
// million fits a processor's cache, and a load from memory beyond that takes longer than all that a look-up computes.
//
// A segment is a word of `stride_` bytes that holds its offset in its group of kGroup, its length, its place in the
// source, whether it is zeroed, and its source. Each of these is as wide as nearly all groups need, and the first three
// count units of 4 KiB where nearly all are whole ones. A group in which something does not fit is kept aside as it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lsmt/segment.h"

namespace obd {

class PackedSegments {
 public:
  static constexpr size_t kGroup = 64;

  PackedSegments() = default;
  // `segments` are sorted by offset and do not overlap.
  explicit PackedSegments(const std::vector<Segment>& segments);

  size_t size() const { return size_; }
  size_t memory() const { return words_.capacity() + wide_.capacity() * sizeof(Segment); }

  // Segment `i`. `base` is the offset of the first in its group, i / kGroup.
  Segment get(size_t i, uint64_t base) const {
    const size_t group = i / kGroup;
    if (is_wide(group)) return wide_group(group)[i % kGroup];
    const uint64_t word = load(i);
    Segment s{};
    s.offset = base + (offset_.of(word) << unit_);
    s.length = length_.of(word) << unit_;
    s.moffset = moffset_.of(word) << unit_;
    s.zeroed = zeroed_.of(word);
    s.source = source_.of(word);
    return s;
  }

  // The last segment of `group` that begins at or before `sector`, or the first if none does. `base` as above.
  size_t find(size_t group, uint64_t base, uint64_t sector) const;

 private:
  struct Field {
    unsigned at = 0;
    uint64_t mask = 0;
    uint64_t of(uint64_t word) const { return word >> at & mask; }
  };

  // With bytes of the next ones above what the fields say.
  uint64_t load(size_t i) const {
    uint64_t word;
    std::memcpy(&word, words_.data() + i * stride_, sizeof word);
    return word;
  }
  uint64_t offset_in_group(size_t i) const { return offset_.of(load(i)); }
  // The first segment of a group is at its beginning: any other offset says that the group is kept aside.
  bool is_wide(size_t group) const { return offset_in_group(group * kGroup) != 0; }
  // Where it is kept is said in the second 8 bytes of its words.
  const Segment* wide_group(size_t group) const;
  void pack(const Segment* segments, size_t count, char* words) const;
  void keep_aside(const Segment* segments, size_t count, char* words);

  size_t size_ = 0;
  size_t stride_ = 0;  // bytes
  unsigned unit_ = 0;  // log2 of sectors
  Field offset_, length_, moffset_, zeroed_, source_;
  std::vector<char> words_;    // whole groups, and what the last load() reads beyond them
  std::vector<Segment> wide_;  // of the groups kept aside
};

}  // namespace obd

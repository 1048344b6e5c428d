#include "lsmt/packed_segments.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "lsmt/count_of_16.h"

namespace obd {
namespace {

constexpr size_t kGroup = PackedSegments::kGroup;
constexpr size_t kCacheLine = 64;
constexpr unsigned kPageUnit = 3;     // 8 sectors are 4 KiB
constexpr size_t kRareGroups = 64;    // one group in so many may not fit
constexpr size_t kPlaceOfWide = 8;    // of a group's bytes: where the group is in wide_
constexpr unsigned kWordBits = 64;

enum Number { kOffset, kLength, kMoffset, kZeroed, kSource, kNumbers };
using Numbers = std::array<uint64_t, kNumbers>;
using Widths = std::array<unsigned, kNumbers>;  // bits

Numbers numbers_of(const Segment& s, uint64_t base) { return {s.offset - base, s.length, s.moffset, s.zeroed, s.source}; }

Numbers in_units(Numbers n, unsigned unit) {
  for (const Number counted : {kOffset, kLength, kMoffset}) n[counted] >>= unit;
  return n;
}

bool whole_units(const Numbers& n, unsigned unit) {
  return ((n[kOffset] | n[kLength] | n[kMoffset]) & ((uint64_t{1} << unit) - 1)) == 0;
}

unsigned width_of(uint64_t number) { return number == 0 ? 0 : kWordBits - static_cast<unsigned>(__builtin_clzll(number)); }

// The bits that any segment of a group has set: as wide as its widest, and whole units if all are.
std::vector<Numbers> bits_of_groups(const std::vector<Segment>& segments) {
  std::vector<Numbers> groups((segments.size() + kGroup - 1) / kGroup);
  for (size_t i = 0; i < segments.size(); ++i) {
    const Numbers n = numbers_of(segments[i], segments[i / kGroup * kGroup].offset);
    for (size_t k = 0; k < kNumbers; ++k) groups[i / kGroup][k] |= n[k];
  }
  return groups;
}

unsigned usual_unit(const std::vector<Numbers>& groups) {
  const auto odd = std::count_if(groups.begin(), groups.end(), [](const Numbers& n) { return !whole_units(n, kPageUnit); });
  return static_cast<size_t>(odd) <= groups.size() / kRareGroups ? kPageUnit : 0;
}

// What nearly all groups need.
Widths usual_widths(const std::vector<Numbers>& groups, unsigned unit) {
  Widths widths;
  for (size_t k = 0; k < kNumbers; ++k) {
    std::array<size_t, kWordBits + 1> groups_of_width{};
    for (const Numbers& n : groups) ++groups_of_width[width_of(in_units(n, unit)[k])];
    widths[k] = kWordBits;
    for (size_t wider = 0; widths[k] > 0; --widths[k]) {
      wider += groups_of_width[widths[k]];
      if (wider > groups.size() / kRareGroups) break;
    }
  }
  widths[kOffset] = std::max(widths[kOffset], 1u);  // that of a group kept aside is not 0
  return widths;
}

bool fits(const Numbers& bits, const Widths& widths, unsigned unit) {
  const Numbers n = in_units(bits, unit);
  for (size_t k = 0; k < kNumbers; ++k) {
    if (width_of(n[k]) > widths[k]) return false;
  }
  return whole_units(bits, unit);
}

}  // namespace

PackedSegments::PackedSegments(const std::vector<Segment>& segments) : size_(segments.size()) {
  const std::vector<Numbers> groups = bits_of_groups(segments);
  unit_ = usual_unit(groups);
  Widths widths = usual_widths(groups, unit_);
  const auto bits = [&] { return std::accumulate(widths.begin(), widths.end(), 0u); };
  if (bits() > kWordBits) widths = {1, 0, 0, 0, 0};  // no group fits: every segment has a length
  stride_ = (bits() + 7) / 8;
  unsigned at = 0;
  size_t k = 0;
  for (Field* const field : {&offset_, &length_, &moffset_, &zeroed_, &source_}) {
    const unsigned width = widths[k++];
    if (width == 0) continue;
    *field = {at, UINT64_MAX >> (kWordBits - width)};
    at += width;
  }
  words_.assign(groups.size() * kGroup * stride_ + sizeof(uint64_t), '\xff');
  for (size_t group = 0; group < groups.size(); ++group) {
    const size_t first = group * kGroup, count = std::min(kGroup, size_ - first);
    char* const words = words_.data() + first * stride_;
    if (fits(groups[group], widths, unit_)) {
      pack(&segments[first], count, words);
    } else {
      keep_aside(&segments[first], count, words);
    }
  }
  wide_.shrink_to_fit();
}

void PackedSegments::pack(const Segment* segments, size_t count, char* words) const {
  for (size_t i = 0; i < count; ++i) {
    const Segment& s = segments[i];
    const uint64_t word = (s.offset - segments->offset) >> unit_ << offset_.at | uint64_t{s.length} >> unit_ << length_.at |
                          uint64_t{s.moffset} >> unit_ << moffset_.at | uint64_t{s.zeroed} << zeroed_.at |
                          uint64_t{s.source} << source_.at;
    std::memcpy(words + i * stride_, &word, stride_);
  }
}

void PackedSegments::keep_aside(const Segment* segments, size_t count, char* words) {
  const uint64_t place = wide_.size();
  std::memcpy(words + kPlaceOfWide, &place, sizeof place);
  wide_.insert(wide_.end(), segments, segments + count);
}

const Segment* PackedSegments::wide_group(size_t group) const {
  uint64_t place;
  std::memcpy(&place, words_.data() + group * kGroup * stride_ + kPlaceOfWide, sizeof place);
  return wide_.data() + place;
}

size_t PackedSegments::find(size_t group, uint64_t base, uint64_t sector) const {
  const size_t first = group * kGroup, count = std::min(kGroup, size_ - first);
  // All at once: one after another they would be waited for one after another.
  const char* const words = words_.data() + first * stride_;
  for (size_t at = 0; at < kGroup * stride_; at += kCacheLine) __builtin_prefetch(words + at);
  if (sector < base) return first;
  if (is_wide(group)) {
    const Segment* const segments = wide_group(group);
    const auto behind = std::partition_point(segments, segments + count, [&](const Segment& s) { return s.offset <= sector; });
    return first + static_cast<size_t>(behind - segments) - 1;
  }
  const uint64_t offset = (sector - base) >> unit_;
  size_t begun = 0;
  for (size_t half = kGroup / 2; half >= 16; half /= 2) begun += (offset_in_group(first + begun + half) <= offset) * half;
  begun += count_of_16([&](size_t i) { return offset_in_group(first + begun + i) <= offset; });
  return first + std::min(begun, count) - 1;  // what fills the last group up may count as well
}

}  // namespace obd

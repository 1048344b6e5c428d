#include "lsmt/frozen_index.h"

namespace obd {

FrozenIndex::FrozenIndex(std::vector<Segment> segments) : segments_(std::move(segments)) {
  segments_.shrink_to_fit();
  fence_.reserve(segments_.size() / kFenceStep + 1);
  for (size_t i = 0; i < segments_.size(); i += kFenceStep) fence_.push_back(segments_[i].offset);
}

size_t FrozenIndex::lower_bound(uint64_t sector) const {
  const auto after = std::upper_bound(fence_.begin(), fence_.end(), sector);
  if (after == fence_.begin()) return 0;
  const size_t first = static_cast<size_t>(after - fence_.begin() - 1) * kFenceStep;
  const auto begin = segments_.begin() + static_cast<ptrdiff_t>(first);
  const auto end = segments_.begin() + static_cast<ptrdiff_t>(std::min(first + kFenceStep, segments_.size()));
  return static_cast<size_t>(
      std::partition_point(begin, end, [&](const Segment& s) { return s.end() <= sector; }) - segments_.begin());
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

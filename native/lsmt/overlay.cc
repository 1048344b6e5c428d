#include "lsmt/overlay.h"

namespace obd {

std::vector<Segment> overlay(const std::vector<Segment>& upper, uint64_t upper_source, const std::vector<Segment>& lower) {
  std::vector<Segment> out;
  out.reserve(upper.size() + lower.size());
  auto low = lower.begin();
  const auto low_end = lower.end();
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
  for (Segment s : upper) {
    take_lower_until(s.offset);
    while (low != low_end && low->end() <= s.end()) ++low;
    s.source = s.source + upper_source;
    out.push_back(s);
    covered = s.end();
  }
  take_lower_until(Segment::kMaxOffset + 1);
  return out;
}

}  // namespace obd

// Look-ups in the merged index of ten layers below a disk: 1 M segments, random sectors, one thread. The data of each
// layer has the order of the disk, as a commit lays it out.
//   test/bench/lookup.sh
// On record for the reference (its docs): 5.6 M look-ups a second by binary search, 15 M by its B+ tree. Which figures a
// machine reaches is a matter of its memory, which a look-up waits for: so binary search of the same segments (16 bytes
// each), and one load from as much memory as that searches, are measured beside it.
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <random>

#include "lsmt/frozen_index.h"

using namespace obd;

// Of this thread: others may want the processor as well.
static double cpu_nanoseconds() {
  timespec now;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

int main() {
  constexpr size_t kSegments = 1'000'000, kLookups = 4'000'000;
  std::mt19937_64 random(1);
  std::vector<Segment> segments;
  uint64_t at = 0;
  std::array<uint64_t, 10> data_end;
  data_end.fill(8);  // sectors: behind the header
  for (size_t i = 0; i < kSegments; ++i) {
    Segment s{};
    at += random() % 4 * 8;  // some touch, others leave a hole
    s.offset = at;
    s.length = 8 * (1 + random() % 8);
    s.source = random() % data_end.size();
    s.moffset = data_end[s.source];
    data_end[s.source] += s.length;
    at = s.end();
    segments.push_back(s);
  }
  const FrozenIndex index(segments);
  // The same behind one that is as far off as can be: no slice of the disk tells these apart.
  std::vector<Segment> with_far = segments;
  with_far.push_back(segments.back());
  with_far.back().offset = Segment::kMaxOffset - Segment::kMaxLength;
  const FrozenIndex crowded(with_far);
  std::vector<uint64_t> sectors(kLookups);
  for (uint64_t& sector : sectors) sector = random() % at / 8 * 8;

  // A circle through all lines of as much memory as the segments take, in no order.
  constexpr size_t kWordsPerLine = 8, kLines = kSegments * sizeof(Segment) / 64;
  std::vector<uint64_t> circle(kLines * kWordsPerLine);
  std::vector<uint64_t> order(kLines);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  for (size_t i = 0; i < kLines; ++i) circle[order[i] * kWordsPerLine] = order[(i + 1) % kLines] * kWordsPerLine;

  uint64_t found = 0;
  const auto in = [&](const FrozenIndex& of) {
    return [&](uint64_t sector) { of.for_each(sector, sector + 8, [&](const Segment& s) { found += s.moffset; }); };
  };
  const auto binary_search = [&](uint64_t sector) {
    auto at_sector = std::partition_point(segments.begin(), segments.end(), [&](const Segment& s) { return s.end() <= sector; });
    for (; at_sector != segments.end() && at_sector->offset < sector + 8; ++at_sector) {
      Segment s = *at_sector;
      if (s.end() > sector + 8) s.end_at(sector + 8);
      if (s.offset < sector) s.advance_to(sector);
      found += s.moffset;
    }
  };
  // With `dependent` each look-up needs the result of the one before, so that the processor cannot overlap them.
  const auto run = [&](const auto& look_up, bool dependent) {
    const double start = cpu_nanoseconds();
    for (const uint64_t sector : sectors) look_up(dependent ? sector + (found & 1) * 8 : sector);
    return (cpu_nanoseconds() - start) / kLookups;
  };
  const auto load = [&] {
    const double start = cpu_nanoseconds();
    for (size_t i = 0; i < kLookups; ++i) found = circle[found];
    return (cpu_nanoseconds() - start) / kLookups;
  };
  double independent = 1e9, dependent = 1e9, skewed = 1e9, searched = 1e9, loaded = 1e9;
  for (int i = 0; i < 5; ++i) {
    independent = std::min(independent, run(in(index), false));
    dependent = std::min(dependent, run(in(index), true));
    skewed = std::min(skewed, run(in(crowded), false));
    searched = std::min(searched, run(binary_search, false));
    found = 0;
    loaded = std::min(loaded, load());
  }
  std::printf("%zu segments, %.1f MB: %.0f ns a look-up (%.1f M a second), %.0f ns when each waits for the one before,\n"
              "%.0f ns where all but one lie in one slice of the disk\n", kSegments,
              static_cast<double>(index.memory()) / 1e6, independent, 1e3 / independent, dependent, skewed);
  std::printf("binary search: %.0f ns, %.1f times as long; one load from 16 MB: %.0f ns (%llu)\n", searched, searched / independent, loaded,
              static_cast<unsigned long long>(found));
}

// Look-ups in the merged index of the layers below a disk: 1 M segments, random sectors, one thread.
//   test/bench/lookup.sh
// On record for the reference (its docs): 5.6 M look-ups a second by binary search, 15 M by its B+ tree.
#include <time.h>

#include <algorithm>
#include <cstdio>
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
  for (size_t i = 0; i < kSegments; ++i) {
    Segment s{};
    at += random() % 4 * 8;  // some touch, others leave a hole
    s.offset = at;
    s.length = 8 * (1 + random() % 8);
    s.moffset = i * 8;
    s.source = i % 10;
    at = s.end();
    segments.push_back(s);
  }
  const FrozenIndex index(std::move(segments));
  std::vector<uint64_t> sectors(kLookups);
  for (uint64_t& sector : sectors) sector = random() % at / 8 * 8;

  uint64_t found = 0;
  // With `dependent` each look-up needs the result of the one before, so that the processor cannot overlap them.
  const auto run = [&](bool dependent) {
    const double start = cpu_nanoseconds();
    for (const uint64_t sector : sectors) {
      const uint64_t from = dependent ? sector + (found & 1) * 8 : sector;
      index.for_each(from, from + 8, [&](const Segment& s) { found += s.moffset; });
    }
    return (cpu_nanoseconds() - start) / kLookups;
  };
  double independent = run(false), dependent = run(true);
  for (int i = 0; i < 4; ++i) {
    independent = std::min(independent, run(false));
    dependent = std::min(dependent, run(true));
  }
  std::printf("%zu segments, %.1f MB: %.0f ns a look-up (%.1f M a second), %.0f ns when each waits for the one before (sum %llu)\n", kSegments,
              static_cast<double>(index.memory()) / 1e6, independent, 1e3 / independent, dependent, static_cast<unsigned long long>(found));
}

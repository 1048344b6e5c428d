// The two indexes against a plain model: one entry a sector.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "layer_support.h"
#include "lsmt/frozen_index.h"
#include "lsmt/mutable_index.h"
#include "lsmt/overlay.h"

using namespace obd;
using namespace obd::test;

namespace {

// What a sector holds: source, sector there, zeroed.
struct Cell {
  uint64_t source, moffset;
  bool zeroed;
  bool operator==(const Cell& o) const { return source == o.source && zeroed == o.zeroed && (zeroed || moffset == o.moffset); }
};
using Model = std::map<uint64_t, Cell>;

Segment segment(uint64_t offset, uint64_t length, uint64_t moffset, bool zeroed = false, uint64_t source = 0) {
  Segment s{};
  s.offset = offset;
  s.length = length;
  s.moffset = moffset;
  s.zeroed = zeroed;
  s.source = source;
  return s;
}

void put(Model& model, const Segment& s) {
  for (uint64_t i = 0; i < s.length; i++) {
    model[s.offset + i] = {s.source, s.zeroed ? s.moffset : s.moffset + i, s.zeroed != 0};
  }
}

template <typename Index>
Model cells(const Index& index, uint64_t begin, uint64_t end) {
  Model found;
  uint64_t at = begin;
  index.for_each(begin, end, [&](const Segment& s) {
    REQUIRE(s.begin() >= at);  // ascending, no overlap, clipped
    REQUIRE(s.end() <= end);
    REQUIRE(s.length > 0);
    at = s.end();
    put(found, s);
  });
  return found;
}

Model range(const Model& model, uint64_t begin, uint64_t end) {
  return Model(model.lower_bound(begin), model.lower_bound(end));
}

Segment random_segment(Random& random, uint64_t disk, uint64_t& next) {
  const uint64_t offset = random.below(disk - 1);
  const uint64_t longest = random.below(10) == 0 ? 3000 : 40;
  const uint64_t length = 1 + random.below(std::min(longest, disk - offset));
  const bool zeroed = random.below(4) == 0;
  const Segment s = segment(offset, length, zeroed ? 8 : next, zeroed, random.below(3));
  if (!zeroed) next += length + random.below(2);
  return s;
}

}  // namespace

TEST_CASE("a mutable index holds what was written last, in any order") {
  for (const bool merge : {false, true}) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      CAPTURE(seed);
      const uint64_t disk = seed % 2 ? 20000 : 200000;
      Random random(seed);
      MutableIndex index;
      Model model;
      uint64_t next = 8;
      for (int i = 0; i < 8000; i++) {
        Segment s = random_segment(random, disk, next);
        index.insert(s, merge);
        put(model, s);
        if (i % 500 == 0) {
          const uint64_t from = random.below(disk), to = from + random.below(disk - from) + 1;
          REQUIRE(cells(index, from, to) == range(model, from, to));
        }
      }
      REQUIRE(cells(index, 0, disk) == model);
      REQUIRE(index.segments().size() == index.size());
      const FrozenIndex frozen(index.segments());
      for (int i = 0; i < 200; i++) {
        const uint64_t from = random.below(disk), to = from + 1 + random.below(50);
        REQUIRE(cells(frozen, from, to) == range(model, from, to));
        REQUIRE(cells(index, from, to) == range(model, from, to));
      }
    }
  }
}

namespace {

bool same(const Segment& a, const Segment& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Sorted, some touch. Numbers are multiples of `unit`; one segment in `rare` is as far away, as long and as deep in its
// source as the format allows.
std::vector<Segment> sorted_segments(Random& random, size_t count, uint64_t unit, uint64_t rare) {
  std::vector<Segment> segments;
  uint64_t at = random.below(100) * unit;
  while (segments.size() < count) {
    at += random.below(3) * unit;
    Segment s = segment(at, (1 + random.below(20)) * unit, random.below(1 << 16) * unit, random.below(5) == 0, random.below(10));
    if (random.below(rare) == 0) {
      s.offset = s.offset + random.below(uint64_t{1} << 35);
      s.length = 1 + random.below(Segment::kMaxLength);
      s.moffset = random.below(2) ? Segment::kMaxMoffset : random.below(uint64_t{1} << 40);
      s.source = random.below(2) ? Segment::kMaxSource : 0;
    }
    at = s.end();
    segments.push_back(s);
  }
  return segments;
}

// Every look-up at and around the ends of every segment.
void check_lookups(const FrozenIndex& index, const std::vector<Segment>& segments) {
  const auto expect = [&](uint64_t sector) {
    const auto first = std::partition_point(segments.begin(), segments.end(), [&](const Segment& s) { return s.end() <= sector; });
    size_t visited = 0;
    index.for_each(sector, sector + 2, [&](const Segment& s) {
      REQUIRE(first + static_cast<ptrdiff_t>(visited) < segments.end());
      Segment clipped = first[static_cast<ptrdiff_t>(visited++)];
      if (clipped.end() > sector + 2) clipped.end_at(sector + 2);
      if (clipped.offset < sector) clipped.advance_to(sector);
      REQUIRE(same(s, clipped));
    });
    const auto behind = std::partition_point(first, segments.end(), [&](const Segment& s) { return s.offset < sector + 2; });
    REQUIRE(visited == static_cast<size_t>(behind - first));
  };
  expect(0);
  for (const Segment& s : segments) {
    for (const uint64_t sector : {s.begin() - (s.begin() != 0), s.begin(), s.end() - 1, s.end()}) expect(sector);
  }
}

}  // namespace

TEST_CASE("a frozen index gives back exactly what it was made of, whatever its numbers are") {
  Random random(11);
  for (const uint64_t unit : {1, 8}) {
    // Never, in some groups, in too many groups to keep them aside, everywhere.
    for (const uint64_t rare : {uint64_t{1} << 40, uint64_t{20000}, uint64_t{100}, uint64_t{1}}) {
      for (const size_t count : {0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 129, 1023, 1025, 16385, 50000}) {
        CAPTURE(unit);
        CAPTURE(rare);
        CAPTURE(count);
        const auto segments = sorted_segments(random, count, unit, rare);
        const FrozenIndex index(segments);
        const auto back = index.segments();
        REQUIRE(back.size() == count);
        REQUIRE(std::equal(back.begin(), back.end(), segments.begin(), same));
        check_lookups(index, segments);
      }
    }
  }
}

TEST_CASE("a frozen index takes what its numbers need") {
  Random random(12);
  const auto bytes = [](const FrozenIndex& index) { return double(index.memory()) / double(index.size()); };
  CHECK(bytes(FrozenIndex(sorted_segments(random, 100000, 8, uint64_t{1} << 40))) < 6);
  CHECK(bytes(FrozenIndex(sorted_segments(random, 100000, 1, uint64_t{1} << 40))) < 6);
  CHECK(bytes(FrozenIndex(sorted_segments(random, 100000, 8, 50000))) < 6.5);  // two groups or so do not fit
  CHECK(bytes(FrozenIndex(sorted_segments(random, 100000, 8, 1))) < 18);       // none fits
}

TEST_CASE("an index takes at most 32 bytes a segment") {
  const uint64_t n = 200000;
  auto bytes = [](const MutableIndex& index) { return double(index.memory()) / double(index.size()); };
  Random random(7);
  MutableIndex sequential, scattered, thinned;
  for (uint64_t i = 0; i < n; i++) {
    sequential.insert(segment(i * 9, 8, 8 + i * 16), false);
    scattered.insert(segment(random.below(n * 50) * 9, 8, 8 + i * 16), false);
    thinned.insert(segment(i * 9, 8, 8 + i * 16), false);
  }
  CHECK(bytes(sequential) < 18);
  CHECK(bytes(scattered) < 28);
  // Long writes swallow most of what was there; what is left must not keep the memory of all.
  for (uint64_t i = 0; i < n * 9; i += 16000) thinned.insert(segment(i, 15900, 8), false);
  CHECK(bytes(thinned) <= 32);
  CHECK(thinned.memory() < sequential.memory() / 10);
  const FrozenIndex frozen(scattered.segments());
  CHECK(double(frozen.memory()) / double(frozen.size()) < 8);
}

TEST_CASE("writes that continue each other become one segment") {
  MutableIndex index;
  for (uint64_t i = 0; i < 100; i++) index.insert(segment(i * 8, 8, 8 + i * 8), true);
  CHECK(index.size() == 1);
  index.insert(segment(800, 8, 5000), true);  // continues the disk, not the file
  CHECK(index.size() == 2);
  for (uint64_t i = 0; i < 5000; i++) index.insert(segment(10000 + i * 8, 8, 10000 + i * 8), true);
  for (const Segment& s : index.segments()) CHECK(s.length <= Segment::kMaxJoined);
  CHECK(index.size() == 2 + 3);
}

TEST_CASE("overlay: the upper index wins, the lower shows through the gaps") {
  for (uint64_t seed = 1; seed <= 20; seed++) {
    CAPTURE(seed);
    Random random(seed);
    const uint64_t disk = 5000;
    Model model;
    std::vector<Segment> merged;
    for (uint64_t layer = 0; layer < 6; layer++) {
      MutableIndex index;
      uint64_t next = 8;
      for (uint64_t i = random.below(40); i > 0; i--) {
        Segment s = random_segment(random, disk, next);
        s.source = 0;
        index.insert(s, true);
      }
      for (Segment s : index.segments()) {
        s.source = layer;
        put(model, s);
      }
      merged = overlay(index.segments(), layer, merged);
    }
    REQUIRE(cells(FrozenIndex(merged), 0, disk) == model);
  }
}

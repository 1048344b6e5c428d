// Random access to gzip files: the right bytes, or an error that says what is wrong with them.
#include "gzip/gzip_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "error.h"
#include "gzip_support.h"
#include "layer_support.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr size_t kSpan = 64 << 10;

std::string mixed(Random& random, size_t size) {
  std::string plain;
  while (plain.size() < size) plain += some_bytes(random, 1 + random.below(30000), random.below(3) != 0);
  plain.resize(size);
  return plain;
}

std::string read(Blob& blob, size_t count, uint64_t offset) {
  std::string bytes(count, '?');
  Misses none;
  const bool local = blob.try_read(bytes.data(), count, offset, none);
  REQUIRE(local);
  return bytes;
}

std::shared_ptr<GzipFile> open(const std::string& gzip, const std::string& index) {
  return std::make_shared<GzipFile>(std::make_shared<MemoryBlob>(gzip, "layer"), GzipIndex(index, "index"));
}

// The error of opening the file and reading it whole; empty without one.
std::string problem(const std::string& gzip, const std::string& index) {
  try {
    const auto file = open(gzip, index);
    read(*file, file->size(), 0);
    return "";
  } catch (const FormatError& e) {
    return e.what();
  }
}

template <typename T>
std::string with(std::string index, size_t offset, T value) {
  std::memcpy(&index[offset], &value, sizeof value);
  fix_index_checksum(index);
  return index;
}

}  // namespace

TEST_CASE("a gzip file reads as its content at any place, whatever the level and the form of the index") {
  Random random(1);
  const std::string plain = mixed(random, 1 << 20);
  for (const int level : {0, 1, 6, 9}) {
    for (const bool compressed : {true, false}) {
      CAPTURE(level);
      const std::string gzip = gzip_of(plain, level);
      const auto file = open(gzip, gzip_index_of(gzip, kSpan, compressed));
      REQUIRE(file->size() == plain.size());
      CHECK(file->index().entries().size() > 4);
      for (int i = 0; i < 100; i++) {
        const uint64_t offset = random.below(plain.size());
        const size_t count = static_cast<size_t>(random.below(std::min<uint64_t>(plain.size() - offset, 200000) + 1));
        REQUIRE(read(*file, count, offset) == plain.substr(offset, count));
      }
      CHECK(read(*file, plain.size(), 0) == plain);
      CHECK_THROWS_AS(read(*file, 2, plain.size() - 1), FormatError);
    }
  }
}

TEST_CASE("small and empty gzip files") {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{40000}}) {
    Random random(2);
    const std::string plain = mixed(random, size), gzip = gzip_of(plain);
    CHECK(problem(gzip, gzip_index_of(gzip, kSpan)) == "");
    CHECK(read(*open(gzip, gzip_index_of(gzip, kSpan)), size, 0) == plain);
  }
}

TEST_CASE("the reference's index and gzip file read to the tar they were made of") {
  const auto file = open(read_file(golden("turbo/layer1.tar.gz")), read_file(golden("turbo/layer1.gzip.meta")));
  CHECK(file->size() == 542720);
  CHECK(sha256(read(*file, file->size(), 0)) == "d0c58c5e1c4eca64269693c46070d996eaee48330354f4d36b5850f1ef21f3b4");
}

TEST_CASE("only the pieces that are read are fetched, and several threads may read at once") {
  Random random(3);
  const std::string plain = mixed(random, 1 << 20), gzip = gzip_of(plain);
  const auto remote = std::make_shared<MissingBlob>(gzip, 4096);
  GzipFile file(remote, GzipIndex(gzip_index_of(gzip, kSpan), "index"));
  std::string bytes(1000, '?');
  Misses misses;
  REQUIRE_FALSE(file.try_read(bytes.data(), bytes.size(), 500000, misses));
  remote->fetch(misses);
  misses.clear();
  REQUIRE(file.try_read(bytes.data(), bytes.size(), 500000, misses));
  CHECK(bytes == plain.substr(500000, 1000));
  CHECK(remote->fetched() < gzip.size() / 4096 / 4);

  const auto whole = open(gzip, gzip_index_of(gzip, kSpan));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      Random mine(t + 10);
      for (int i = 0; i < 50; i++) {
        const uint64_t offset = mine.below(plain.size() - 5000);
        std::string got(5000, '?');
        Misses none;
        whole->try_read(got.data(), got.size(), offset, none);
        wrong += got != plain.substr(offset, 5000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a damaged gzip file gives the right bytes or an error, and what was fetched damaged is fetched again") {
  Random random(4);
  const std::string plain = mixed(random, 400000), gzip = gzip_of(plain), index = gzip_index_of(gzip, kSpan);
  int errors = 0;
  for (int i = 0; i < 300; i++) {
    std::string damaged = gzip;
    const size_t at = 10 + static_cast<size_t>(random.below(gzip.size() - 14));  // not in its header, nor its size
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.below(8)));
    const auto remote = std::make_shared<MissingBlob>(damaged, 4096);
    GzipFile file(remote, GzipIndex(index, "index"));
    bool failed = false;
    std::string got(plain.size(), '?');
    for (int round = 0; round < 3 && !failed; round++) {
      Misses misses;
      try {
        if (file.try_read(got.data(), got.size(), 0, misses)) break;
        remote->fetch(misses);
        if (round == 1) remote->bytes() = gzip;  // the second answer is the right one
      } catch (const FormatError&) {
        failed = true;
      }
    }
    // Only the CRC over everything tells that a literal is wrong; it is compared last.
    if (!failed) REQUIRE(got == plain);
    errors += failed;
  }
  CHECK(errors < 300);
}

TEST_CASE("what only the gzip's own checksum can tell is told once everything was read, and from then on") {
  Random random(5);
  const std::string plain = mixed(random, 300000);
  std::string gzip = gzip_of(plain, 0);  // stored: a changed byte is a changed byte
  const std::string index = gzip_index_of(gzip, kSpan);
  gzip[gzip.size() / 2] ^= 1;
  const auto file = open(gzip, index);
  CHECK(read(*file, 1000, 0) == plain.substr(0, 1000));
  std::string bytes(plain.size(), '?');
  Misses none;
  CHECK_THROWS_WITH_AS(file->try_read(bytes.data(), bytes.size(), 0, none), doctest::Contains("CRC-32"), FormatError);
  CHECK_THROWS_WITH_AS(file->try_read(bytes.data(), 1, 0, none), doctest::Contains("layer: gzip"), FormatError);
}

TEST_CASE("an index that does not belong to the file is found out") {
  Random random(6);
  const std::string plain = mixed(random, 300000), other = mixed(random, 300000);
  const std::string gzip = gzip_of(plain), index = gzip_index_of(gzip, kSpan);
  CHECK(problem(gzip + "x", index).find("its index is for one of") != std::string::npos);
  std::string same_size = gzip_of(other);
  same_size.resize(gzip.size(), '\0');
  CHECK(problem(same_size, index).find("gzip: ") != std::string::npos);
}

TEST_CASE("damaged and hostile indexes are refused with a reason") {
  Random random(7);
  const std::string plain = mixed(random, 300000), gzip = gzip_of(plain), index = gzip_index_of(gzip, kSpan, false);
  const size_t table = index.size() - GzipIndex(index, "index").entries().size() * 29;
  const auto reason = [&](const std::string& bytes, const char* words) {
    CHECK_MESSAGE(problem(gzip, bytes).find(words) != std::string::npos, problem(gzip, bytes));
  };
  reason("", "does not begin");
  reason(index.substr(0, 332), "does not begin");
  reason(index.substr(0, index.size() - 1), "cut short");
  std::string flipped = index;
  flipped[40] ^= 1;
  reason(flipped, "does not match its checksum");
  reason(with<uint8_t>(index, 8, 2), "version 2");
  reason(with<uint8_t>(index, 10, 9), "unknown compression");
  reason(with<uint32_t>(index, 17, 65536), "windows");
  reason(with<uint32_t>(index, 21, 30), "29 bytes");
  reason(with<uint64_t>(index, 25, uint64_t{1} << 60), "entries");
  reason(with<uint64_t>(index, 25, 1), "table of entries");
  reason(with<uint64_t>(index, 313, ~uint64_t{0}), "lies outside");
  reason(with<uint64_t>(index, 49, uint64_t{1} << 50), "too far apart");
  reason(with<uint64_t>(index, table, 5), "out of order");
  reason(with<uint64_t>(index, table + 29, uint64_t{1} << 40), "points outside");
  reason(with<uint64_t>(index, table + 29 + 8, 1), "out of order");
  reason(with<uint64_t>(index, table + 16, index.size()), "no window");
  reason(with<uint32_t>(index, table + 25, 7), "another size");
  reason(with<uint8_t>(index, table + 24, 8), "points outside");
  const std::string packed = gzip_index_of(gzip, kSpan);
  reason(with<uint64_t>(packed, 25, 900000), "table of entries is damaged");
}

TEST_CASE("indexes with random damage never crash, hang or take memory without end") {
  Random random(8);
  const std::string plain = mixed(random, 200000), gzip = gzip_of(plain);
  for (const bool compressed : {true, false}) {
    const std::string index = gzip_index_of(gzip, kSpan, compressed);
    for (int i = 0; i < 400; i++) {
      std::string damaged = index;
      for (uint64_t n = 1 + random.below(4); n > 0; n--) {
        // Header and table, where the structure is, more often than windows.
        const size_t at = random.below(2) ? random.below(333) : damaged.size() - 1 - random.below(damaged.size() / 4);
        damaged[at] = static_cast<char>(random());
      }
      fix_index_checksum(damaged);
      try {
        const auto file = open(gzip, damaged);
        std::string bytes(std::min<uint64_t>(file->size(), 1 << 20), '?');
        Misses none;
        file->try_read(bytes.data(), bytes.size(), 0, none);
        if (bytes.size() == plain.size()) CHECK(bytes == plain);
      } catch (const FormatError&) {
      }
    }
  }
}

// What a cache entry keeps decompressed: what is read of it is what was stored, or nothing.
#include "blob/plain_copy.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "layer_support.h"
#include "system/unique_fd.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr uint64_t kPage = 4096;

struct Fixture {
  explicit Fixture(uint64_t size) : size(size), content(some_bytes(random, size, false)), fd(::open(dir.file("entry").c_str(), O_RDWR | O_CREAT, 0600)), copy(fd.get(), 1 << 20, size) {}

  void store(uint64_t offset, uint64_t count) { copy.store(content.data() + offset, count, offset); }
  // Whether it was kept; what was read is right then.
  bool read(uint64_t offset, uint64_t count) { return read(copy, offset, count); }
  bool read_as_another_process(uint64_t offset, uint64_t count) {
    PlainCopy other(fd.get(), 1 << 20, size);
    return read(other, offset, count);
  }
  bool read(PlainCopy& copy, uint64_t offset, uint64_t count) {
    std::string bytes(count, 'x');
    if (!copy.read(bytes.data(), count, offset)) return false;
    CHECK(bytes == content.substr(offset, count));
    return true;
  }

  TempDir dir;
  Random random{5};
  const uint64_t size;
  const std::string content;
  const UniqueFd fd;
  PlainCopy copy;
};

}  // namespace

TEST_CASE("pages that were stored whole are read, in any pieces, and no others") {
  for (const uint64_t size : {uint64_t{1}, kPage - 1, kPage, 5 * kPage + 17, uint64_t{3 << 20} + 512}) {
    Fixture f(size);
    std::vector<bool> kept((size + kPage - 1) / kPage);
    CHECK_FALSE(f.read(0, 1));
    for (int round = 0; round < 300; ++round) {
      uint64_t offset = f.random.below(size), count = 1 + f.random.below(std::min<uint64_t>(size - offset, 2 << 20));
      if (round % 4 == 0) {
        f.store(offset, count);
        for (uint64_t page = 0; page < kept.size(); ++page) {
          if (offset <= page * kPage && std::min(size, (page + 1) * kPage) <= offset + count) kept[page] = true;
        }
        continue;
      }
      if (round % 4 == 1) count = std::min<uint64_t>(count, 6000);
      const bool all = std::all_of(kept.begin() + offset / kPage, kept.begin() + (offset + count - 1) / kPage + 1, [](bool one) { return one; });
      CHECK(f.read(offset, count) == all);
    }
    f.store(0, size);
    CHECK(f.read(0, size));
    f.copy.forget();
    CHECK_FALSE(f.read(0, 1));
    CHECK_FALSE(f.read(size - 1, 1));
  }
}

TEST_CASE("pages that were damaged on the disk are not kept, whatever was damaged") {
  Fixture f((2 << 20) + 100);
  f.store(0, f.size);
  const auto end = static_cast<uint64_t>(::lseek(f.fd.get(), 0, SEEK_END));
  for (int round = 0; round < 400; ++round) {
    // Half of it hits the table.
    const uint64_t at = round % 2 == 0 ? (1 << 20) + f.random.below(513 * 4) : (1 << 20) + f.random.below(end - (1 << 20));
    char byte;
    REQUIRE(::pread(f.fd.get(), &byte, 1, static_cast<off_t>(at)) == 1);
    byte = static_cast<char>(byte ^ (1 << f.random.below(8)));
    REQUIRE(::pwrite(f.fd.get(), &byte, 1, static_cast<off_t>(at)) == 1);
    const uint64_t offset = f.random.below(f.size - 70000);
    f.read_as_another_process(offset, 1 + f.random.below(70000));
  }
  CHECK_FALSE(f.read_as_another_process(0, f.size));
  f.store(0, f.size);
  CHECK(f.read(0, f.size));
  REQUIRE(::ftruncate(f.fd.get(), static_cast<off_t>(end - 50)) == 0);
  CHECK_FALSE(f.read(f.size - 60, 10));
  CHECK(f.read(0, 2 << 20));
  REQUIRE(::ftruncate(f.fd.get(), 0) == 0);
  CHECK_FALSE(f.read(0, 1));
}

TEST_CASE("a page that was read well, left memory, and was damaged on the disk then, is not kept any more") {
  Fixture f(8 << 20);
  f.store(0, f.size);
  CHECK(f.read(0, f.size));
  struct statfs fs;
  REQUIRE(::fstatfs(f.fd.get(), &fs) == 0);
  if (fs.f_type == TMPFS_MAGIC) {
    MESSAGE("NOT TESTED: a tmpfs has all of its files in memory");
    return;
  }
  const auto end = static_cast<uint64_t>(::lseek(f.fd.get(), 0, SEEK_END));
  const uint64_t damaged = end - f.size + (3 << 20) + 4096 + 17;
  REQUIRE(::pwrite(f.fd.get(), f.content.data(), 1, static_cast<off_t>(damaged)) == 1);
  REQUIRE(::fsync(f.fd.get()) == 0);
  REQUIRE(::posix_fadvise(f.fd.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
  // What is read ahead of this has the damage in it.
  CHECK(f.read((3 << 20) - 4096, 8192));
  CHECK_FALSE(f.read((3 << 20) + 4096, 4096));
  CHECK_FALSE(f.read_as_another_process((3 << 20) + 4096, 4096));
  CHECK(f.read((3 << 20) + 8192, f.size - (3 << 20) - 8192));
  CHECK(f.read(0, (3 << 20) + 4096));
}

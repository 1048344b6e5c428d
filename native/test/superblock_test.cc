#include "ext4/superblock.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "error.h"

namespace obd::ext4 {
namespace {

namespace fs = std::filesystem;

// A file system made by mke2fs, in memory.
std::string make_disk(const std::string& options) {
  const fs::path file = fs::temp_directory_path() / ("obd-superblock-" + std::to_string(::getpid()));
  std::ofstream(file).close();
  fs::resize_file(file, 24 << 20);
  const std::string command = "PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 " + options + " " + file.string() + " >/dev/null 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream in(file, std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  fs::remove(file);
  return content.str();
}

std::optional<BlockZero> clean(const std::string& disk) {
  const Misses none;
  return clean_block_zero(
      disk.size(),
      [&](void* buf, size_t count, uint64_t offset) {
        REQUIRE(offset + count <= disk.size());
        std::memcpy(buf, disk.data() + offset, count);
        return true;
      },
      none);
}

void apply(std::string& disk, const BlockZero& block) { std::memcpy(disk.data(), block.data(), block.size()); }

template <typename T>
void put(std::string& disk, size_t field, T value) {
  std::memcpy(disk.data() + kSuperblockOffset + field, &value, sizeof(value));
}
template <typename T>
T get(const std::string& disk, size_t field) {
  T value;
  std::memcpy(&value, disk.data() + kSuperblockOffset + field, sizeof(value));
  return value;
}

// A file system as the kernel leaves it while mounted: not valid, counts of long ago, checksum of that state.
void dirty(std::string& disk) {
  put<uint16_t>(disk, 0x3A, 0);
  put<uint32_t>(disk, 0x0C, 17);
  put<uint32_t>(disk, 0x10, 3);
  put<uint32_t>(disk, 0x2C, 1234567);
  put<uint16_t>(disk, 0x34, 9);
  std::memcpy(disk.data() + kSuperblockOffset + 0x88, "/var/lib/somewhere", 18);
}

const char* const kVariants[] = {
    "-b 4096 -O none,extent,64bit,flex_bg,metadata_csum,sparse_super,dir_index",
    "-O none,extent,filetype,sparse_super",
    "-O ^has_journal -b 1024",
    "-O ^has_journal,^metadata_csum,uninit_bg",
    "-O ^has_journal,metadata_csum_seed,metadata_csum",
    "-O ^has_journal,bigalloc -C 16384",
    "",
};

TEST_CASE("a dirty superblock becomes what an unmount would have written") {
  for (const char* options : kVariants) {
    CAPTURE(std::string(options));
    std::string disk = make_disk(options);
    if (const auto first = clean(disk)) apply(disk, *first);  // traces of mke2fs itself
    CHECK_FALSE(clean(disk));
    const std::string wanted = disk;
    dirty(disk);
    const auto block = clean(disk);
    REQUIRE(block);
    apply(disk, *block);
    CHECK(disk == wanted);
    CHECK(get<uint16_t>(disk, 0x3A) == 1);
    CHECK_FALSE(clean(disk));
  }
}

TEST_CASE("what is no ext file system is left alone") {
  CHECK_FALSE(clean(std::string(1 << 20, '\0')));
  CHECK_FALSE(clean(std::string(512, '\0')));
}

TEST_CASE("a file system that must not be sealed is refused") {
  std::string disk = make_disk(kVariants[0]);
  put<uint16_t>(disk, 0x3A, 2);
  CHECK_THROWS_WITH_AS(clean(disk), doctest::Contains("found errors"), FormatError);
  disk = make_disk(kVariants[0]);
  put<uint32_t>(disk, 0x60, get<uint32_t>(disk, 0x60) | 4);
  CHECK_THROWS_WITH_AS(clean(disk), doctest::Contains("freeze"), FormatError);
  disk = make_disk(kVariants[0]);
  disk[4096 + 0x0C] ^= 1;  // free blocks of group 0
  CHECK_THROWS_WITH_AS(clean(disk), doctest::Contains("block group 0 has a wrong checksum"), FormatError);
}

TEST_CASE("missing bytes are reported, not guessed") {
  const std::string disk = make_disk(kVariants[0]);
  Misses misses;
  const auto block = clean_block_zero(
      disk.size(),
      [&](void* buf, size_t count, uint64_t offset) {
        if (offset > 0) {
          misses.push_back({nullptr, offset});
          return false;
        }
        std::memcpy(buf, disk.data(), count);
        return true;
      },
      misses);
  CHECK_FALSE(block);
  CHECK(misses.size() == 1);
}

TEST_CASE("a damaged superblock is refused or mended, never followed out of the disk") {
  const std::string good = make_disk(kVariants[0]);
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string disk = good;
    for (int n = 0; n < 3; ++n) disk[kSuperblockOffset + random() % 0x180] = static_cast<char>(random());
    put<uint16_t>(disk, 0x38, 0xEF53);
    try {
      clean(disk);
    } catch (const FormatError&) {
    }
  }
}

}  // namespace
}  // namespace obd::ext4

#include "ext4/superblock.h"

#include <cstring>
#include <vector>

#include "error.h"
#include "zfile/crc32c.h"

namespace obd::ext4 {
namespace {

constexpr uint16_t kMagic = 0xEF53;
constexpr uint16_t kStateValid = 1, kStateError = 2;
constexpr uint32_t kIncompatRecover = 0x4, kIncompatMetaBg = 0x10, kIncompat64Bit = 0x80, kIncompatCsumSeed = 0x2000;
constexpr uint32_t kRoCompatBigalloc = 0x200, kRoCompatMetadataCsum = 0x400;
constexpr uint32_t kCrcSeed = 0xffffffff;
constexpr uint32_t kMaxGroups = 1u << 24;  // 2 PiB of 4 KiB blocks
const char* const kName = "ext4 superblock";

// Offsets in the superblock.
enum Field : size_t {
  kBlocksLo = 0x04, kFreeBlocksLo = 0x0C, kFreeInodes = 0x10, kFirstDataBlock = 0x14, kLogBlockSize = 0x18,
  kLogClusterSize = 0x1C, kBlocksPerGroup = 0x20, kInodesPerGroup = 0x28, kMountTime = 0x2C, kWriteTime = 0x30,
  kMountCount = 0x34, kMagicAt = 0x38, kState = 0x3A, kIncompat = 0x60, kRoCompat = 0x64, kUuid = 0x68,
  kLastMounted = 0x88, kDescSize = 0xFE, kMkfsTime = 0x108, kBlocksHi = 0x150, kFreeBlocksHi = 0x158,
  kKbytesWritten = 0x178, kCsumSeed = 0x270, kWriteTimeHi = 0x274, kMountTimeHi = 0x275, kMkfsTimeHi = 0x276,
  kChecksum = 0x3FC,
};
// Offsets in a group descriptor; the high halves exist in 64-byte ones.
enum GroupField : size_t {
  kGroupFreeBlocksLo = 0x0C, kGroupFreeInodesLo = 0x0E, kGroupChecksum = 0x1E, kGroupFreeBlocksHi = 0x2C,
  kGroupFreeInodesHi = 0x2E,
};

template <typename T>
T get(const unsigned char* at, size_t field) {  // little-endian, as every machine obd runs on
  T value;
  std::memcpy(&value, at + field, sizeof(T));
  return value;
}

template <typename T>
void put(unsigned char* at, size_t field, T value) {
  std::memcpy(at + field, &value, sizeof(T));
}

// What of the superblock is needed to find and check the group descriptors.
struct Geometry {
  uint64_t block_size, table_offset;
  uint32_t groups, blocks_per_group, inodes_per_group, cluster_ratio;
  size_t descriptor_size;
};

[[noreturn]] void bad(const std::string& problem) { throw FormatError(kName, kSuperblockOffset, problem); }

Geometry read_geometry(const unsigned char* super, uint64_t disk_size) {
  Geometry g{};
  const auto log_block = get<uint32_t>(super, kLogBlockSize);
  const auto log_cluster = get<uint32_t>(super, kLogClusterSize);
  if (log_block > 6) bad("block size out of range");
  g.block_size = uint64_t{1024} << log_block;
  const bool wide = (get<uint32_t>(super, kIncompat) & kIncompat64Bit) != 0;
  g.descriptor_size = wide ? get<uint16_t>(super, kDescSize) : 32;
  if (g.descriptor_size < 32 || g.descriptor_size > 1024 || (wide && g.descriptor_size < 64)) bad("descriptor size out of range");
  g.cluster_ratio = 1;
  if (get<uint32_t>(super, kRoCompat) & kRoCompatBigalloc) {
    if (log_cluster < log_block || log_cluster - log_block > 16) bad("cluster size out of range");
    g.cluster_ratio = 1u << (log_cluster - log_block);
  }
  g.blocks_per_group = get<uint32_t>(super, kBlocksPerGroup);
  g.inodes_per_group = get<uint32_t>(super, kInodesPerGroup);
  const auto first = get<uint32_t>(super, kFirstDataBlock);
  uint64_t blocks = get<uint32_t>(super, kBlocksLo);
  if (wide) blocks |= uint64_t{get<uint32_t>(super, kBlocksHi)} << 32;
  if (g.blocks_per_group == 0 || blocks <= first || blocks > disk_size / g.block_size) bad("block count out of range");
  const uint64_t groups = (blocks - first + g.blocks_per_group - 1) / g.blocks_per_group;
  if (groups > kMaxGroups) bad("too many block groups");
  g.groups = static_cast<uint32_t>(groups);
  g.table_offset = (kSuperblockOffset / g.block_size + 1) * g.block_size;  // the block after the superblock's
  return g;
}

// Seed of every metadata checksum but the superblock's own.
uint32_t checksum_seed(const unsigned char* super) {
  if (get<uint32_t>(super, kIncompat) & kIncompatCsumSeed) return get<uint32_t>(super, kCsumSeed);
  return crc32c_raw(super + kUuid, 16, kCrcSeed);
}

uint16_t group_checksum(const unsigned char* descriptor, size_t size, uint32_t group, uint32_t seed) {
  const uint16_t zero = 0;
  uint32_t crc = crc32c_raw(&group, sizeof(group), seed);
  crc = crc32c_raw(descriptor, kGroupChecksum, crc);
  crc = crc32c_raw(&zero, sizeof(zero), crc);
  const size_t rest = kGroupChecksum + sizeof(zero);
  return static_cast<uint16_t>(crc32c_raw(descriptor + rest, size - rest, crc));
}

struct FreeCounts {
  uint64_t blocks = 0, inodes = 0;
};

FreeCounts sum_groups(const unsigned char* super, const Geometry& g, const std::vector<unsigned char>& table) {
  const bool checked = (get<uint32_t>(super, kRoCompat) & kRoCompatMetadataCsum) != 0;
  const uint32_t seed = checksum_seed(super);
  FreeCounts total;
  for (uint32_t group = 0; group < g.groups; ++group) {
    const unsigned char* d = table.data() + group * g.descriptor_size;
    if (checked && get<uint16_t>(d, kGroupChecksum) != group_checksum(d, g.descriptor_size, group, seed)) {
      bad("block group " + std::to_string(group) + " has a wrong checksum");
    }
    uint32_t blocks = get<uint16_t>(d, kGroupFreeBlocksLo);
    uint32_t inodes = get<uint16_t>(d, kGroupFreeInodesLo);
    if (g.descriptor_size >= 64) {
      blocks |= uint32_t{get<uint16_t>(d, kGroupFreeBlocksHi)} << 16;
      inodes |= uint32_t{get<uint16_t>(d, kGroupFreeInodesHi)} << 16;
    }
    if (blocks > g.blocks_per_group || inodes > g.inodes_per_group) {
      bad("block group " + std::to_string(group) + " counts more free than it has");
    }
    total.blocks += uint64_t{blocks} * g.cluster_ratio;
    total.inodes += inodes;
  }
  return total;
}

void set_free_counts(unsigned char* super, const FreeCounts& free) {
  put(super, kFreeBlocksLo, static_cast<uint32_t>(free.blocks));
  if (get<uint32_t>(super, kIncompat) & kIncompat64Bit) put(super, kFreeBlocksHi, static_cast<uint32_t>(free.blocks >> 32));
  put(super, kFreeInodes, static_cast<uint32_t>(free.inodes));
}

// When and where it was mounted says nothing of the content and differs from build to build.
void reset_mount_traces(unsigned char* super) {
  put<uint32_t>(super, kMountTime, 0);
  put<uint8_t>(super, kMountTimeHi, 0);
  put(super, kWriteTime, get<uint32_t>(super, kMkfsTime));
  put(super, kWriteTimeHi, get<uint8_t>(super, kMkfsTimeHi));
  put<uint16_t>(super, kMountCount, 0);
  put<uint64_t>(super, kKbytesWritten, 0);
  std::memset(super + kLastMounted, 0, 64);
}

}  // namespace

std::optional<BlockZero> clean_block_zero(uint64_t disk_size, const TryRead& read, const Misses& misses) {
  BlockZero block{};
  if (disk_size < block.size() || !read(block.data(), block.size(), 0)) return std::nullopt;
  const BlockZero found = block;
  unsigned char* super = block.data() + kSuperblockOffset;
  if (get<uint16_t>(super, kMagicAt) != kMagic) return std::nullopt;
  const auto incompat = get<uint32_t>(super, kIncompat);
  if (get<uint16_t>(super, kState) & kStateError) bad("the kernel found errors in this file system: it is not sealed");
  if (incompat & kIncompatRecover) throw JournalInUse();

  // Descriptors that are spread over the disk (meta_bg) are left to the kernel, which does not mind the
  // counts; nothing obd makes has them.
  if ((incompat & kIncompatMetaBg) == 0) {
    const Geometry g = read_geometry(super, disk_size);
    std::vector<unsigned char> table((g.groups * g.descriptor_size + 511) / 512 * 512);
    if (g.table_offset + table.size() > disk_size) bad("block group descriptors beyond the disk");
    if (!read(table.data(), table.size(), g.table_offset) || !misses.empty()) return std::nullopt;
    set_free_counts(super, sum_groups(super, g, table));
  }
  put<uint16_t>(super, kState, get<uint16_t>(super, kState) | kStateValid);
  reset_mount_traces(super);
  if (get<uint32_t>(super, kRoCompat) & kRoCompatMetadataCsum) {
    put(super, kChecksum, crc32c_raw(super, kChecksum, kCrcSeed));
  }
  if (block == found) return std::nullopt;
  return block;
}

}  // namespace obd::ext4

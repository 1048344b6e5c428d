#include "device/fuse_protocol.h"

#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace obd::fuse {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint32_t kOldestMinor = 31;  // Linux 5.4; all of the structs used here have their present size
// Requests the kernel may have under way for the asynchronous I/O of the loop device (queue depth 128).
constexpr uint16_t kMaxBackground = 512;
constexpr uint16_t kCongestion = 384;
constexpr uint64_t kAttrSeconds = 1u << 30;  // the size and mode never change

}  // namespace

std::optional<Request> parse_request(const void* data, size_t size) {
  Request request{};
  if (size < sizeof(request.header)) return std::nullopt;
  __builtin_memcpy(&request.header, data, sizeof(request.header));
  if (request.header.len != size) return std::nullopt;
  request.body = static_cast<const char*>(data) + sizeof(request.header);
  request.body_size = size - sizeof(request.header);
  return request;
}

std::optional<ReadRange> parse_read(const Request& request, uint64_t disk_size) {
  const auto in = request.body_as<fuse_read_in>();
  if (!in || in->size > kMaxTransfer || in->offset % kSector != 0 || in->size % kSector != 0) return std::nullopt;
  if (in->offset >= disk_size) return ReadRange{in->offset, 0};
  return ReadRange{in->offset, static_cast<uint32_t>(std::min<uint64_t>(in->size, disk_size - in->offset))};
}

std::optional<WriteRange> parse_write(const Request& request, uint64_t disk_size) {
  const auto in = request.body_as<fuse_write_in>();
  if (!in || in->size > request.body_size - sizeof(*in)) return std::nullopt;
  if (in->offset % kSector != 0 || in->size % kSector != 0) return std::nullopt;
  if (in->offset > disk_size || in->size > disk_size - in->offset) return std::nullopt;
  return WriteRange{in->offset, in->size, static_cast<const char*>(request.body) + sizeof(*in)};
}

ZeroRequest parse_fallocate(const Request& request, uint64_t disk_size) {
  const auto in = request.body_as<fuse_fallocate_in>();
  if (!in) return {{}, EINVAL};
  constexpr uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  constexpr uint32_t kZero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  if (in->mode != kPunch && in->mode != kZero) return {{}, EOPNOTSUPP};
  if (in->offset > disk_size) return {{}, EINVAL};
  // A range that would wrap around ends at the disk's end like any other that is too long.
  const uint64_t end = in->offset + std::min(in->length, disk_size - in->offset);
  const uint64_t first = (in->offset + kSector - 1) / kSector * kSector;
  const uint64_t last = end / kSector * kSector;
  if (first >= last) return {{first, 0}, 0};
  return {{first, last - first}, 0};
}

std::optional<fuse_init_out> answer_init(const Request& request) {
  // Older kernels send a shorter message; only these fields are looked at.
  struct Head {
    uint32_t major, minor, max_readahead, flags;
  };
  const auto in = request.body_as<Head>();
  if (!in || in->major < FUSE_KERNEL_VERSION) return std::nullopt;
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = FUSE_KERNEL_MINOR_VERSION;
  if (in->major > FUSE_KERNEL_VERSION) return out;
  if (in->minor < kOldestMinor) return std::nullopt;
  out.minor = std::min<uint32_t>(in->minor, FUSE_KERNEL_MINOR_VERSION);
  out.max_readahead = in->max_readahead;
  out.flags = in->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
  out.max_background = kMaxBackground;
  out.congestion_threshold = kCongestion;
  out.max_write = kMaxTransfer;
  out.time_gran = 1;
  out.max_pages = kMaxTransfer / 4096;
  return out;
}

fuse_attr_out answer_getattr(uint64_t disk_size, bool writable) {
  fuse_attr_out out{};
  out.attr_valid = kAttrSeconds;
  out.attr.ino = FUSE_ROOT_ID;
  out.attr.size = disk_size;
  out.attr.blocks = disk_size / kSector;
  out.attr.mode = S_IFREG | (writable ? 0600 : 0400);
  out.attr.nlink = 1;
  out.attr.blksize = 4096;
  return out;
}

fuse_statfs_out answer_statfs(uint64_t disk_size) {
  fuse_statfs_out out{};
  // The loop device takes bsize as the granularity of discards: blocks of ext4.
  out.st.bsize = 4096;
  out.st.frsize = 4096;
  out.st.blocks = disk_size / 4096;
  out.st.namelen = 255;
  return out;
}

}  // namespace obd::fuse

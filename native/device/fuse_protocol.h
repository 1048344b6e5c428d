// The part of the FUSE kernel protocol (linux/fuse.h, version 7) that a file system of one regular file
// needs: turning the bytes read from /dev/fuse into checked requests, and building the replies.
#pragma once
#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace obd::fuse {

constexpr uint32_t kMaxTransfer = 1 << 20;  // bytes in one READ or WRITE
// What must fit in one read(2) of /dev/fuse: the largest WRITE with its headers.
constexpr size_t kRequestBuffer = kMaxTransfer + 4096;

// One request. The pointers lead into the buffer it was parsed from.
struct Request {
  fuse_in_header header;
  const void* body;
  size_t body_size;

  // The operation's own struct; nullopt when the message is too short to hold it.
  template <typename T>
  std::optional<T> body_as() const {
    if (body_size < sizeof(T)) return std::nullopt;
    T value;
    __builtin_memcpy(&value, body, sizeof(T));
    return value;
  }
};

// Nullopt when `size` bytes are not one whole request.
std::optional<Request> parse_request(const void* data, size_t size);

struct ReadRange {
  uint64_t offset;
  uint32_t size;
};
// FUSE_READ of a disk of `disk_size` bytes, cut off at its end (size 0 past it). Nullopt when malformed:
// too short, larger than kMaxTransfer, or not in 512-byte sectors.
std::optional<ReadRange> parse_read(const Request& request, uint64_t disk_size);

struct WriteRange {
  uint64_t offset;
  uint32_t size;
  const void* data;
};
// FUSE_WRITE; nullopt when malformed: short of data, not in sectors, or beyond the disk.
std::optional<WriteRange> parse_write(const Request& request, uint64_t disk_size);

struct ZeroRange {
  uint64_t offset;
  uint64_t size;
};
// FUSE_FALLOCATE that empties a range (punch hole, zero range, size kept), cut off at the disk's end and
// inwards to whole sectors. `error` is 0, EINVAL when malformed, EOPNOTSUPP for another mode.
struct ZeroRequest {
  ZeroRange range;
  int error;
};
ZeroRequest parse_fallocate(const Request& request, uint64_t disk_size);

// The answer to FUSE_INIT; nullopt when the kernel's version is too old (before 7.31) or the message is
// malformed. A kernel with a newer major number asks again after this answer.
std::optional<fuse_init_out> answer_init(const Request& request);

// Attributes of the one file.
fuse_attr_out answer_getattr(uint64_t disk_size, bool writable);
fuse_statfs_out answer_statfs(uint64_t disk_size);

}  // namespace obd::fuse

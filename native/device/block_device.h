// What every device server (fuse, tcmu, ublk) serves: a disk of 512-byte sectors. All calls are
// thread-safe, are made on native threads only, and never wait for the network.
#pragma once
#include <cstddef>
#include <cstdint>

#include "blob/blob.h"

namespace obd {

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual uint64_t size() const = 0;    // bytes, a multiple of 512
  virtual bool writable() const = 0;
  // Reads; `offset` and `count` are multiples of 512 and inside the disk. Returns false with the extents
  // to fetch when some bytes are remote: fetch them and call again. Throws when the data cannot be had.
  virtual bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) = 0;
  virtual void write(const void* buf, size_t count, uint64_t offset) = 0;
  virtual void discard(uint64_t offset, uint64_t count) = 0;  // reads as zeros afterwards
  virtual void flush() = 0;
};

}  // namespace obd

// Carries out block requests on a disk and says what to answer: the part that ublk and TCMU servers share.
#pragma once
#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <utility>

#include "blob/local_blob.h"
#include "device/block_device.h"
#include "device/device_fault.h"
#include "device/parked_read.h"
#include "zfile/scratch.h"

namespace obd {

class DiskRequests {
 public:
  // What a read returns that is not done yet: the answer comes later. Or the disk has to be waited for: read_waiting().
  static constexpr int kParked = INT_MIN, kOnDisk = INT_MIN + 1;

  // `fetches` outlives this.
  DiskRequests(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, FaultListener on_fault)
      : disk_(std::move(disk)), fetches_(fetches), on_fault_(std::move(on_fault)) {}

  const BlockDevice& disk() const { return *disk_; }
  bool contains(uint64_t offset, uint64_t count) const {
    return offset <= disk_->size() && count <= disk_->size() - offset;
  }

  // Each returns 0 or the errno of the failure, which the listener has been told of. Ranges are whole
  // sectors inside the disk.

  // Reads what is in memory into `buf`. Returns kOnDisk when the disk has to be waited for, or kParked when it is the
  // network: then `later(data, error)` is called once, on another thread, with an errno as above. It keeps this alive.
  template <typename Later>
  int read(void* buf, size_t count, uint64_t offset, Later later) {
    thread_local Misses misses;
    misses.clear();
    try {
      const OnlyCached here;
      if (disk_->try_read(buf, count, offset, misses)) return 0;
    } catch (...) {
      return fail("read", offset, count, std::current_exception());
    }
    if (std::any_of(misses.begin(), misses.end(), [](const Miss& miss) { return miss.is_on_disk(); })) return kOnDisk;
    park(count, offset, misses, std::move(later));
    return kParked;
  }
  // The same, but waits for the disk where it is local, and calls `later` in any case: at once, on this thread, unless the
  // network has to be waited for. With `place`, which holds `count` bytes, what is local is read right there.
  template <typename Later>
  void read_waiting(size_t count, uint64_t offset, char* place, Later later) {
    thread_local Scratch scratch;
    char* const buf = place ? place : scratch.get(count);
    Misses misses;
    try {
      if (disk_->try_read(buf, count, offset, misses)) return later(buf, 0);
    } catch (...) {
      return later(nullptr, fail("read", offset, count, std::current_exception()));
    }
    park(count, offset, misses, std::move(later));
  }

  // What write and discard have acknowledged outlives this process: whoever takes the device over after a
  // crash finds it, since the file system above does not write it a second time.
  int write(const void* buf, size_t count, uint64_t offset);
  int discard(uint64_t offset, uint64_t count);
  int flush();

 private:
  template <typename Later>
  void park(size_t count, uint64_t offset, const Misses& misses, Later later) {
    park_read(fetches_, disk_, offset, count, misses,
              [this, offset, count, later = std::move(later)](const void* data, std::exception_ptr error) {
                later(data, error ? fail("read", offset, count, error) : 0);
              });
  }
  int fail(const char* operation, uint64_t offset, uint64_t count, const std::exception_ptr& error);

  const std::shared_ptr<BlockDevice> disk_;
  FetchManager& fetches_;
  const FaultListener on_fault_;
};

}  // namespace obd

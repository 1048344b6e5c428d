// Carries out block requests on a disk and says what to answer: the part that ublk and TCMU servers share.
#pragma once
#include <cerrno>
#include <climits>
#include <memory>
#include <utility>

#include "device/block_device.h"
#include "device/device_fault.h"
#include "device/parked_read.h"

namespace obd {

class DiskRequests {
 public:
  // What a read returns that waits for remote bytes: the answer comes later.
  static constexpr int kParked = INT_MIN;

  // `fetches` outlives this.
  DiskRequests(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, FaultListener on_fault)
      : disk_(std::move(disk)), fetches_(fetches), on_fault_(std::move(on_fault)) {}

  const BlockDevice& disk() const { return *disk_; }
  bool contains(uint64_t offset, uint64_t count) const {
    return offset <= disk_->size() && count <= disk_->size() - offset;
  }

  // Each returns 0 or the errno of the failure, which the listener has been told of. Ranges are whole
  // sectors inside the disk.

  // Or kParked: then `later(data, error)` is called once, on a completion thread, with an errno as above.
  template <typename Later>
  int read(void* buf, size_t count, uint64_t offset, Later later) {
    Misses misses;
    try {
      if (disk_->try_read(buf, count, offset, misses)) return 0;
      park_read(fetches_, disk_, offset, count, misses,
                [this, offset, count, later](const void* data, std::exception_ptr error) {
                  later(data, error ? fail("read", offset, count, error) : 0);
                });
      return kParked;
    } catch (...) {
      return fail("read", offset, count, std::current_exception());
    }
  }
  // What write and discard have acknowledged outlives this process: whoever takes the device over after a
  // crash finds it, since the file system above does not write it a second time.
  int write(const void* buf, size_t count, uint64_t offset);
  int discard(uint64_t offset, uint64_t count);
  int flush();

 private:
  int fail(const char* operation, uint64_t offset, uint64_t count, const std::exception_ptr& error);

  const std::shared_ptr<BlockDevice> disk_;
  FetchManager& fetches_;
  const FaultListener on_fault_;
};

}  // namespace obd

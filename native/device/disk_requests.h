// Carries out block requests on a disk and says what to answer: the part that ublk and TCMU servers share.
#pragma once
#include <cerrno>
#include <climits>
#include <memory>
#include <utility>

#include "blob/local_blob.h"
#include "blob/worker_threads.h"
#include "device/block_device.h"
#include "device/device_fault.h"
#include "device/parked_read.h"
#include "zfile/scratch.h"

namespace obd {

class DiskRequests {
 public:
  // What a read returns that is not done yet: the answer comes later.
  static constexpr int kParked = INT_MIN;

  // `fetches` and `helpers`, where reads go that would keep a serving thread too long, outlive this.
  DiskRequests(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, WorkerThreads& helpers, FaultListener on_fault)
      : disk_(std::move(disk)), fetches_(fetches), helpers_(helpers), on_fault_(std::move(on_fault)) {}

  const BlockDevice& disk() const { return *disk_; }
  WorkerThreads& helpers() { return helpers_; }
  bool contains(uint64_t offset, uint64_t count) const {
    return offset <= disk_->size() && count <= disk_->size() - offset;
  }

  // Each returns 0 or the errno of the failure, which the listener has been told of. Ranges are whole
  // sectors inside the disk.

  // Reads what is in memory into `buf`. Or returns kParked when the disk or the network has to be waited
  // for: then `later(data, error)` is called once, on another thread, with an errno as above. It keeps this
  // alive. With `place`, which holds `count` bytes until then, what is on the disk is read right there.
  template <typename Later>
  int read(void* buf, size_t count, uint64_t offset, Later later, char* place = nullptr) {
    Misses misses;
    try {
      const OnlyCached here;
      if (disk_->try_read(buf, count, offset, misses)) return 0;
    } catch (const WouldBlock&) {
      helpers_.run([this, count, offset, place, later = std::move(later)] { read_waiting(count, offset, place, later); });
      return kParked;
    } catch (...) {
      return fail("read", offset, count, std::current_exception());
    }
    park(count, offset, misses, std::move(later));
    return kParked;
  }
  // The same, but waits for the disk where it is local, and calls `later` in any case: at once, on this thread, unless the
  // network has to be waited for.
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
  WorkerThreads& helpers_;
  const FaultListener on_fault_;
};

}  // namespace obd

// A stack of layers as a device that is built on: counts what passes, and seals its writable layer live.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>

#include "blob/fetch_manager.h"
#include "blob/read_trace.h"
#include "blob/read_trace.h"
#include "device/block_device.h"
#include "lsmt/stack.h"

namespace obd {

class StackDevice : public BlockDevice {
 public:
  // `first_write`: where the write counter starts.
  explicit StackDevice(std::unique_ptr<Stack> stack, uint64_t first_write = 0)
      : stack_(std::move(stack)), writes_(first_write) {}

  uint64_t size() const override { return stack_->size(); }
  bool writable() const override { return stack_->writable(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  void write(const void* buf, size_t count, uint64_t offset) override;
  void discard(uint64_t offset, uint64_t count) override;
  void flush() override;

  struct Counters {
    uint64_t writes;  // write and discard requests
    uint64_t bytes_read, bytes_written;
  };
  Counters counters() const;
  // What was read of remote blobs since the last call.
  std::vector<TracedRun> take_trace() { return trace_.take(); }

  // Live seal: makes the superblock of an ext4 in it clean (ext4/superblock.h), freezes the writable layer
  // and stacks `next` on it, atomically with respect to writes. With `if_writes`, nullopt and no change
  // when the write counter is another number, or when the file system has a journal in use, which only a
  // freeze empties. Fetches what it has to read: never on a thread that serves a
  // device. Throws FormatError when the file system cannot be sealed as it is, std::runtime_error after a
  // write that failed: the layer would lack what the file system believes to be there.
  std::optional<Stack::Frozen> seal(FetchManager& fetches, std::shared_ptr<WritableLayer> next,
                                    std::optional<uint64_t> if_writes);

 private:
  template <typename Change>
  void change(Change make);

  std::unique_ptr<Stack> stack_;
  ReadTrace trace_;
  std::shared_mutex gate_;  // shared by writes, alone for a seal
  std::atomic<uint64_t> writes_, bytes_read_{0}, bytes_written_{0};
  std::mutex failure_mutex_;
  std::string failure_;  // of the first write that failed
};

}  // namespace obd

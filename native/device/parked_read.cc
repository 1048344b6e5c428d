#include "device/parked_read.h"

#include <stdexcept>
#include <vector>

#include "error.h"

namespace obd {
namespace {

// Every round must bring something that was missing: one for the data, one after a failed checksum, and
// some for bytes that another process throws out of the cache meanwhile.
constexpr int kRounds = 16;

std::exception_ptr no_progress(uint64_t offset) {
  return std::make_exception_ptr(std::runtime_error("the bytes for the disk's offset " + std::to_string(offset) +
                                                    " were fetched again and again but do not stay in the block cache"));
}

struct ParkedRead : std::enable_shared_from_this<ParkedRead> {
  ParkedRead(FetchManager& fetches, std::shared_ptr<BlockDevice> disk, uint64_t offset, size_t count, ReadReply reply)
      : fetches(fetches), disk(std::move(disk)), offset(offset), count(count), reply(std::move(reply)) {}

  void wait_for(const Misses& misses) {
    fetches.when_local(misses, [self = shared_from_this()](std::exception_ptr error) { self->arrived(error); });
  }

  void arrived(std::exception_ptr error) {
    if (error) return reply(nullptr, error);
    std::vector<char> data(count);
    Misses misses;
    try {
      if (disk->try_read(data.data(), count, offset, misses)) return reply(data.data(), nullptr);
    } catch (...) {
      return reply(nullptr, std::current_exception());
    }
    if (++round == kRounds) return reply(nullptr, no_progress(offset));
    wait_for(misses);
  }

  FetchManager& fetches;
  const std::shared_ptr<BlockDevice> disk;
  const uint64_t offset;
  const size_t count;
  const ReadReply reply;
  int round = 0;
};

}  // namespace

void park_read(FetchManager& fetches, std::shared_ptr<BlockDevice> disk, uint64_t offset, size_t count,
               const Misses& misses, ReadReply reply) {
  std::make_shared<ParkedRead>(fetches, std::move(disk), offset, count, std::move(reply))->wait_for(misses);
}

void read_waiting(FetchManager& fetches, BlockDevice& disk, void* buf, size_t count, uint64_t offset) {
  for (int round = 0; round < kRounds; ++round) {
    Misses misses;
    if (disk.try_read(buf, count, offset, misses)) return;
    fetches.wait_local(misses);
  }
  std::rethrow_exception(no_progress(offset));
}

}  // namespace obd

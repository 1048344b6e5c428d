// One queue of a ublk device: a thread with an io_uring of its own that takes the queue's requests from the
// kernel, carries them out, and answers. Reads that wait for remote bytes are answered when these come.
#pragma once
#include <linux/ublk_cmd.h>

#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "device/disk_requests.h"
#include "device/fifo.h"
#include "device/helping_threads.h"
#include "system/unique_fd.h"

namespace obd {

class UblkQueue : public std::enable_shared_from_this<UblkQueue> {
 public:
  static constexpr uint16_t kDepth = 128;          // requests
  static constexpr uint32_t kMaxTransfer = 512 << 10;  // bytes of one read or write

  // `device` is the open /dev/ublkcN, shared by all queues. `helpers` outlive this.
  UblkQueue(std::shared_ptr<UniqueFd> device, uint16_t number, DiskRequests requests, HelpingThreads& helpers);
  ~UblkQueue();
  UblkQueue(const UblkQueue&) = delete;
  UblkQueue& operator=(const UblkQueue&) = delete;

  // Starts the thread, and returns when it fetches requests. Throws std::system_error.
  void start();
  // Waits for the thread, which ends when the device is stopped.
  void join();

 private:
  class Session;
  struct Answer {
    uint16_t tag;
    int result;  // bytes, or a negative errno
  };

  // Gives a read's data, or its error, to the kernel from any thread.
  struct AnswerRead {
    std::shared_ptr<UblkQueue> queue;
    uint16_t tag;
    uint64_t count;  // bytes
    void operator()(const void* data, int error) const;
  };

  void answer_parked(Answer answer);
  // Leaves `answers`' room to those that come next, so that none is allocated.
  void take_parked(std::vector<Answer>& answers);
  // Has a read carried out by a helping thread, which may wait for the disk. It takes the next one when it is done.
  void read_aside(uint16_t tag);
  std::optional<uint16_t> take_aside();
  void help();

  const std::shared_ptr<UniqueFd> device_;
  const uint16_t number_;
  DiskRequests requests_;
  const ublksrv_io_desc* descriptors_ = nullptr;  // one a tag, written by the kernel
  UniqueFd wake_;                                 // eventfd: there are parked answers
  std::mutex parked_mutex_;
  std::vector<Answer> parked_;
  std::mutex aside_mutex_;
  Fifo<uint16_t> aside_{kDepth};  // tags of reads that no helping thread has taken yet
  const size_t most_helpers_;
  size_t helping_ = 0;  // threads that take them, or will
  HelpingThreads::Place help_;
  std::thread thread_;
};

}  // namespace obd

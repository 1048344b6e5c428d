// The command ring of a TCMU backstore, as /dev/uioN shows it: commands are taken out and answered by any thread,
// and answered in any order.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "device/scsi.h"
#include "device/tcmu_abi.h"
#include "device/tcmu_inflight.h"
#include "system/unique_fd.h"

namespace obd {

// How a command ended.
struct TcmuAnswer {
  bool good = true;
  scsi::Sense sense;         // when it is not good
  uint64_t data_length = 0;  // bytes that were read, when `short_data`
  bool short_data = false;
};

class TcmuRing {
 public:
  // Maps the ring behind `uio_path`. `inflight_path` keeps what is under way: `anew` for a ring that has just
  // been made, else the file of the last server. Waits for a server that is being killed to let go of the
  // ring. Throws std::system_error.
  TcmuRing(const std::string& uio_path, const std::string& inflight_path, bool anew);
  ~TcmuRing();
  TcmuRing(const TcmuRing&) = delete;
  TcmuRing& operator=(const TcmuRing&) = delete;

  // What the last server has taken and not answered.
  std::vector<TcmuCommand*> taken_before();

  // The next command, or null when there is none at the moment.
  TcmuCommand* take();
  // True when there is one more already.
  bool has_more() const;
  // Waits until there may be commands that no other thread has been told of. False when the backstore is gone.
  bool wait();
  // The same for a millisecond: false when none has come, or another thread has been quicker. Whoever is told true looks
  // at the ring: nobody else is told of the same commands.
  bool wait_briefly();

  // A piece of a command's data.
  char* data(const TcmuCommand::Part& part) { return base_ + part.offset; }
  // Answers a command, whose place is free afterwards. The kernel looks at answers when it is told to.
  void answer(TcmuCommand& command, const TcmuAnswer& answer);
  // Tells the kernel that there are answers.
  void ring_doorbell();

 private:
  tcmu::Header& entry_at(uint32_t position) { return *reinterpret_cast<tcmu::Header*>(ring_ + position); }
  uint32_t after(uint32_t position, uint32_t length) const { return (position + length) % ring_size_; }
  TcmuCommand& copy_out(const tcmu::Header& entry);
  // Marks as seen what the kernel has told. Returns 0 or an errno, EAGAIN when it is nothing new.
  int take_events();

  UniqueFd fd_;
  TcmuInflight inflight_;
  char* base_ = nullptr;
  size_t size_ = 0;       // bytes mapped
  tcmu::Mailbox* mailbox_ = nullptr;
  char* ring_ = nullptr;  // the entries
  uint32_t ring_size_ = 0;
  std::mutex mutex_;
  std::atomic<unsigned> doorbells_{0};  // that were rung and are not answered
};

}  // namespace obd

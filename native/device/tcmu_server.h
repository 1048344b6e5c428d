// Answers the SCSI commands of a TCMU ring: on a thread of its own, and on helping threads while large reads queue up.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "device/disk_requests.h"
#include "device/scsi.h"
#include "device/short_waits.h"
#include "device/tcmu_ring.h"

namespace obd {

class TcmuServer : public std::enable_shared_from_this<TcmuServer> {
 public:
  // The rest as for TcmuRing.
  TcmuServer(DiskRequests requests, const std::string& serial, const std::string& uio_path, const std::string& inflight_path,
             bool anew);
  ~TcmuServer();

  void start();
  // Waits for the thread, which ends when the backstore is gone.
  void join();

 private:
  using Kind = scsi::Request::Kind;
  void serve();
  bool wait();
  // Answers what is in the ring, up to `most` commands. Returns how many it were.
  unsigned answer_commands(unsigned most);
  void get_help();
  void help();
  void handle(TcmuCommand& command);
  void read(TcmuCommand& command, const scsi::Request& request);
  void write(TcmuCommand& command, const scsi::Request& request);
  void write_same(TcmuCommand& command, const scsi::Request& request);
  void unmap(TcmuCommand& command);
  void give(TcmuCommand& command, const void* data, size_t size);
  void finish(TcmuCommand& command, int error, const scsi::Sense& sense);
  void answer(TcmuCommand& command, const TcmuAnswer& answer);
  void announce();

  // The command's data as one piece: in place when it is one, else gathered in a buffer of the thread.
  const char* gathered(const TcmuCommand& command, size_t size);
  void scatter(const TcmuCommand& command, const void* data, size_t size);

  DiskRequests requests_;
  const scsi::Disk disk_;
  TcmuRing ring_;
  ShortWaits waits_;
  std::atomic<unsigned> unannounced_{0};  // answers since the last doorbell
  std::atomic<unsigned> helping_{0};      // threads that help, or will
  std::thread thread_;
};

}  // namespace obd

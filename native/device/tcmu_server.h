// The thread that answers the SCSI commands of a TCMU ring.
#pragma once
#include <memory>
#include <string>
#include <thread>

#include "device/disk_requests.h"
#include "device/scsi.h"
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
  void handle(TcmuCommand& command);
  void read(TcmuCommand& command, const scsi::Request& request);
  void write(TcmuCommand& command, const scsi::Request& request);
  void write_same(TcmuCommand& command, const scsi::Request& request);
  void unmap(TcmuCommand& command);
  void give(TcmuCommand& command, const void* data, size_t size);
  void finish(TcmuCommand& command, int error, const scsi::Sense& sense);
  void answer(TcmuCommand& command, const TcmuAnswer& answer);

  // The command's data as one piece: in place when it is one, else gathered in the buffer.
  const char* gathered(const TcmuCommand& command, size_t size);
  void scatter(const TcmuCommand& command, const void* data, size_t size);

  DiskRequests requests_;
  const scsi::Disk disk_;
  TcmuRing ring_;
  std::unique_ptr<char[]> buffer_;  // of the thread
  unsigned unannounced_ = 0;        // answers since the last doorbell, of the thread
  std::thread thread_;
};

}  // namespace obd

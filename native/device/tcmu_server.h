// Answers the SCSI commands of a TCMU ring: on a thread of its own, and on helping threads while large reads queue up.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "device/disk_requests.h"
#include "device/fifo.h"
#include "device/helping_threads.h"
#include "device/scsi.h"
#include "device/short_waits.h"
#include "device/tcmu_ring.h"

namespace obd {

class TcmuServer : public std::enable_shared_from_this<TcmuServer> {
 public:
  // `helpers` outlive this. The rest as for TcmuRing.
  TcmuServer(DiskRequests requests, HelpingThreads& helpers, const std::string& serial, const std::string& uio_path,
             const std::string& inflight_path, bool anew);
  ~TcmuServer();

  void start();
  // Waits for the thread, which ends when the backstore is gone.
  void join();

 private:
  using Kind = scsi::Request::Kind;

  // Answers a read from any thread.
  struct AnswerRead {
    std::shared_ptr<TcmuServer> server;
    TcmuCommand* command;
    size_t size;  // bytes
    char* place;  // where the data belongs, when it is one piece
    void operator()(const void* data, int error) const;
  };

  void serve();
  bool wait();
  // Answers what is in the ring, up to `most` commands. Returns how many it were.
  unsigned answer_commands(unsigned most);
  void get_help();
  // On a helping thread: answers commands while they come in.
  void help();
  // Has a read carried out by a thread that may wait for the disk.
  void read_aside(TcmuCommand& command);
  // On that thread.
  void read_waiting();
  // Where the command's data belongs when it is one piece, else null.
  char* place_of(const TcmuCommand& command) { return command.part_count == 1 ? ring_.data(command.parts[0]) : nullptr; }
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
  const unsigned most_helpers_;
  std::atomic<unsigned> helping_{0};      // threads that help, or will
  std::mutex on_disk_mutex_;
  Fifo<TcmuCommand*> on_disk_;  // reads that wait for the disk, and for a thread to do so
  HelpingThreads::Place more_, waiting_;  // for help(), for read_waiting()
  std::thread thread_;
};

}  // namespace obd

// Serves a BlockDevice as the one regular file of a FUSE mount, over the raw /dev/fuse protocol. The mount
// has no mount point: it lives in no namespace and ends with the last descriptor of its file.
#pragma once
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "blob/fetch_manager.h"
#include "device/block_device.h"
#include "device/device_fault.h"
#include "device/fuse_protocol.h"
#include "system/unique_fd.h"

namespace obd {

class FuseServer {
 public:
  // Mounts and begins to serve with `threads` threads. Throws std::system_error. `fetches` outlives this.
  FuseServer(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, FaultListener on_fault, unsigned threads);
  // Waits for the threads, which end when nobody has the file open any more.
  ~FuseServer();
  FuseServer(const FuseServer&) = delete;
  FuseServer& operator=(const FuseServer&) = delete;

  // Descriptor of the served file, for LOOP_CONFIGURE; -1 after close_file().
  int file() const { return file_.get(); }
  // Lets go of the file: its other users (a loop device) keep the mount alive.
  void close_file() { file_.reset(); }

 private:
  class Connection;
  void start_threads(unsigned count);
  void join_threads();
  void open_file(int mount, bool writable);

  std::shared_ptr<Connection> connection_;
  std::vector<std::thread> threads_;
  UniqueFd file_;
};

}  // namespace obd

// Serves a disk as /dev/loopN: a loop device over the one file of a FUSE mount.
#pragma once
#include <memory>
#include <string>

#include "device/fuse_server.h"
#include "device/served_device.h"
#include "system/loop_device.h"

namespace obd {

class FuseDevice : public ServedDevice {
 public:
  // `label` is that of the loop device. Throws std::system_error.
  FuseDevice(const std::shared_ptr<BlockDevice>& disk, FetchManager& fetches, FaultListener on_fault, const std::string& label);

  const std::string& path() const override { return path_; }
  bool try_detach(Steps& steps) override;

 private:
  std::unique_ptr<FuseServer> server_;
  LoopDevice loop_;  // after the server, whose file it holds: it goes first
  std::string path_;
};

}  // namespace obd

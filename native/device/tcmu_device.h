// Serves a disk as a SCSI disk /dev/sdX, through TCMU and a loopback target.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/device_label.h"
#include "device/disk_requests.h"
#include "device/served_device.h"
#include "device/tcmu_server.h"
#include "device/tcmu_target.h"

namespace obd {

class TcmuDevice : public ServedDevice {
 public:
  // Makes the SCSI disk and begins to serve. `inflight_path`: see TcmuInflight. Throws std::system_error.
  static std::unique_ptr<TcmuDevice> attach(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label, const std::string& inflight_path);
  // Serves on where a server that died has left the disk with this label: commands that were under way are
  // carried out again. Null when there is no such disk.
  static std::unique_ptr<TcmuDevice> take_over(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label, const std::string& inflight_path);
  ~TcmuDevice() override;

  const std::string& path() const override { return path_; }
  bool try_detach(Steps& steps) override;
  // Takes the disk away even if it is mounted.
  void tear_down(Steps& steps);

 private:
  TcmuDevice(const DeviceLabel& label, std::string inflight_path);
  void serve(const DiskRequests& requests, HelpingThreads& helpers, bool anew);

  TcmuTarget target_;
  const std::string inflight_path_;
  std::string path_;
  std::shared_ptr<TcmuServer> server_;
  bool gone_ = false;
};

// By DeviceLabel::owner.
std::vector<FoundDevice> list_tcmu_devices(const std::string& owner);
// Takes the disk away, its server being dead: commands that wait for it fail. No error when there is none.
// Throws std::system_error.
void release_tcmu_device(const DeviceLabel& label, const std::string& inflight_path, Steps& steps);
// "<directory>/<number>.inflight"
std::string inflight_path(const std::string& directory, const DeviceLabel& label);

}  // namespace obd

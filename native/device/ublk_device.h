// Serves a disk as /dev/ublkbN.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/device_label.h"
#include "device/disk_requests.h"
#include "device/served_device.h"
#include "device/ublk_queue.h"

namespace obd {

class UblkDevice : public ServedDevice {
 public:
  // Makes the block device and begins to serve. Throws std::system_error.
  static std::unique_ptr<UblkDevice> attach(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label);
  // Serves on where a server that died has left the device with this label: requests that were under way
  // are carried out again. Null when there is no such device.
  static std::unique_ptr<UblkDevice> take_over(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label);
  ~UblkDevice() override;

  const std::string& path() const override { return path_; }
  bool try_detach(Steps& steps) override;

 private:
  explicit UblkDevice(uint32_t id) : id_(id) {}
  void start_queues(const DiskRequests& requests, HelpingThreads& helpers, unsigned count);
  // Ends what has been begun, as far as it has come.
  void tear_down(Steps& steps);

  const uint32_t id_;
  bool stopped_ = false, gone_ = false;
  std::string path_;
  std::vector<std::shared_ptr<UblkQueue>> queues_;
};

// By DeviceLabel::owner.
std::vector<FoundDevice> list_ublk_devices(const std::string& owner);
// Takes the device away, its server being dead: requests that wait for it fail. No error when there is none.
// Throws std::system_error.
void release_ublk_device(const DeviceLabel& label, Steps& steps);

}  // namespace obd

// A disk that the kernel shows as a block device, whichever server answers for it.
#pragma once
#include <string>

#include "device/device_label.h"
#include "device/teardown.h"

namespace obd {

// How the kernel reaches the disk.
enum class DeviceKind { fuse, tcmu, ublk };

class ServedDevice {
 public:
  virtual ~ServedDevice() = default;
  // The node, e.g. "/dev/sdb".
  virtual const std::string& path() const = 0;
  // Takes the block device away, if nobody else has it open or mounted, and ends the serving threads. False,
  // with the device still up, otherwise. Throws std::system_error.
  virtual bool try_detach(Steps& steps) = 0;
};

// A device as found in the kernel, whose server may be dead.
struct FoundDevice {
  DeviceLabel label;
  std::string path;  // empty when it is only half made
};

}  // namespace obd

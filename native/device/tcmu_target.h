// The kernel's side of a TCMU disk, built through configfs: the backstore, whose commands come through
// /dev/uioN, and the loopback target that makes a SCSI disk of it. Names and numbers are derived from the
// label, so that what a dead process has left can be found, and nothing of another program is touched.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/device_label.h"
#include "device/teardown.h"

namespace obd {

class TcmuTarget {
 public:
  explicit TcmuTarget(const DeviceLabel& label);

  // All throw std::system_error.

  // Makes the backstore: from here on uio_path() leads to the ring. `size` in bytes.
  void make_backstore(uint64_t size);
  // Shows it as a SCSI disk and returns its node. The ring must be answered by another thread by now.
  std::string make_disk();
  // Takes the disk away, mounted or not. The ring must be answered. No error when there is none.
  void remove_disk(Steps& steps);
  // Takes the backstore away; reading its uio fails from then on. No error when there is none.
  void remove_backstore(Steps& steps);

  bool has_backstore() const;
  // False for a backstore whose maker was killed before it was enabled.
  bool has_ring() const;
  bool has_disk() const { return !find_fabric().empty(); }
  // The node of the present disk; empty when there is none.
  std::string disk_path() const;
  std::string uio_path() const;
  // 16 hex digits that tell this disk from others.
  const std::string& serial() const { return serial_; }

 private:
  std::string lun_path(const std::string& fabric) const { return fabric + "/tpgt_1/lun/lun_0"; }
  // The loopback target that has our backstore as its disk; empty when there is none.
  std::string find_fabric() const;
  std::string find_uio() const;
  std::string make_fabric() const;
  void remove_fabric(const std::string& fabric, Steps& steps) const;

  std::string adapter_, backstore_, name_, config_, serial_;
  std::vector<std::string> fabrics_;  // the paths to try: one may belong to somebody else
  std::vector<std::string> nexuses_;  // the initiator names that go with them
};

// Labels of the TCMU disks of an instance, by DeviceLabel::owner.
std::vector<DeviceLabel> list_tcmu_targets(const std::string& owner);
// Takes away what is left of an instance whose process was killed before there was a disk, or after it went:
// an adapter with nothing in it. No error when there is none. Throws std::system_error.
void remove_tcmu_adapter(const std::string& owner);

}  // namespace obd

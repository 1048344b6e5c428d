#include "device/tcmu_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "device/block_node.h"
#include "device/kernel_files.h"
#include "error.h"

namespace obd {
namespace {

const std::string kTarget = "/sys/kernel/config/target";
const std::string kLoopback = kTarget + "/loopback";

// The data area is mapped memory of the kernel, taken as it is needed.
constexpr int kDataAreaMiB = 64;
// It is given out in blocks of so many pages: what a command reads or writes is in one piece, mostly.
constexpr int kBlockPages = 32;
constexpr int kMaxSectors = 2048;
// A command that nobody answers fails after this, so that a host whose builder was killed for good does not
// wait for ever. Longer than the longest fetch of remote bytes.
constexpr int kCommandSeconds = 180;
// The layer above must not give up earlier: its aborts would wait for the very same answer.
constexpr int kScsiSeconds = 24 * 3600;
constexpr int kFabricTries = 8;
constexpr auto kDiskPause = std::chrono::milliseconds(2);
constexpr int kDiskRounds = 45000;

uint64_t hash(const std::string& text) {  // FNV-1a
  uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return value;
}

// A name of the kind that LIO gives its own: 36 bits after the company's number.
std::string wwn(const std::string& seed) {
  char text[32];
  std::snprintf(text, sizeof text, "naa.5001405%09llx", static_cast<unsigned long long>(hash(seed) & 0xfffffffffULL));
  return text;
}

// An adapter of each instance's own.
std::string adapter_path(const std::string& owner) {
  return kTarget + "/core/user_" + std::to_string(std::stoul(owner.substr(0, 8), nullptr, 16) & 0x7fffffff);
}

bool remove_directory(const std::string& path, Steps& steps) {
  steps.begin("rmdir " + path);
  return obd::remove_directory(path);
}

void remove_if_empty(const std::string& adapter) {
  if (::rmdir(adapter.c_str()) != 0 && errno != ENOTEMPTY && errno != EBUSY && errno != ENOENT) throw_errno("rmdir " + adapter);
}

std::string device_name(const DeviceLabel& label) { return "obd-" + label.owner + "-" + std::to_string(label.number); }

// The disk behind a SCSI address "H:C:T": its node once it can be opened, else empty.
std::string disk_at(const std::string& address) {
  if (address.empty()) return "";
  const std::vector<std::string> names = names_in("/sys/bus/scsi/devices/" + address + ":0/block");
  // The kernel lists a disk a moment before it is there.
  if (names.empty() || ::access(("/sys/class/block/" + names[0] + "/dev").c_str(), F_OK) != 0) return "";
  const std::string path = block_node(names[0]);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return fd ? path : "";
}

void tune_disk(const std::string& path) {
  const std::string sysfs = "/sys/block/" + path.substr(path.rfind('/') + 1);
  // The scheduler's reordering helps no memory-backed disk and costs a third of the requests.
  write_attribute(sysfs + "/queue/scheduler", "none");
  write_attribute(sysfs + "/device/timeout", std::to_string(kScsiSeconds));
}

}  // namespace

TcmuTarget::TcmuTarget(const DeviceLabel& label)
    : adapter_(adapter_path(label.owner)), name_(device_name(label)), config_("obd/" + name_) {
  backstore_ = adapter_ + "/" + name_;
  char serial[17];
  std::snprintf(serial, sizeof serial, "%016llx", static_cast<unsigned long long>(hash(label.text())));
  serial_ = serial;
  for (int attempt = 0; attempt < kFabricTries; ++attempt) {
    const std::string seed = label.text() + "#" + std::to_string(attempt);
    fabrics_.push_back(kLoopback + "/" + wwn(seed));
    nexuses_.push_back(wwn(seed + " initiator"));
  }
}

bool TcmuTarget::has_backstore() const { return ::access(backstore_.c_str(), F_OK) == 0; }

void TcmuTarget::make_backstore(uint64_t size) {
  make_directory(kTarget + "/core");
  // Another device of the instance may take the adapter away between the two.
  for (;;) {
    make_directory(adapter_);
    if (::mkdir(backstore_.c_str(), 0755) == 0) break;
    if (errno != ENOENT) throw_errno("mkdir " + backstore_);
  }
  write_attribute(backstore_ + "/control", "dev_config=" + config_ + ",dev_size=" + std::to_string(size) +
                                               ",hw_block_size=512,hw_max_sectors=" + std::to_string(kMaxSectors) +
                                               ",max_data_area_mb=" + std::to_string(kDataAreaMiB) +
                                               ",data_pages_per_blk=" + std::to_string(kBlockPages));
  // Nobody listens for the kernel's messages about it: the ring is all that is needed.
  write_attribute(backstore_ + "/attrib/nl_reply_supported", "-1");
  write_attribute(backstore_ + "/attrib/cmd_time_out", std::to_string(kCommandSeconds));
  write_attribute(backstore_ + "/enable", "1");
}

bool TcmuTarget::has_ring() const { return !find_uio().empty(); }

std::string TcmuTarget::uio_path() const {
  const std::string uio = find_uio();
  if (uio.empty()) throw_errno("find the ring of " + backstore_, ENODEV);
  return char_node("uio", uio);
}

std::string TcmuTarget::find_uio() const {
  const std::string wanted = "tcm-user/" + adapter_.substr(adapter_.rfind('_') + 1) + "/" + name_ + "/" + config_;
  for (const std::string& uio : names_in("/sys/class/uio")) {
    if (read_attribute("/sys/class/uio/" + uio + "/name") == wanted) return uio;
  }
  return "";
}

std::string TcmuTarget::find_fabric() const {
  for (const std::string& fabric : fabrics_) {
    if (::access((lun_path(fabric) + "/" + name_).c_str(), F_OK) == 0) return fabric;
  }
  return "";
}

// A directory of ours without the backstore in it is what a process has left that was killed in here.
std::string TcmuTarget::make_fabric() const {
  make_directory(kLoopback);
  for (size_t attempt = 0; attempt < fabrics_.size(); ++attempt) {
    const std::string& fabric = fabrics_[attempt];
    if (!make_directory(fabric)) continue;
    make_directory(fabric + "/tpgt_1");
    make_directory(lun_path(fabric));
    // Without an initiator first, the link succeeds and no disk comes.
    write_attribute(fabric + "/tpgt_1/nexus", nexuses_[attempt]);
    return fabric;
  }
  throw_errno("make a loopback target for " + name_, EEXIST);
}

void TcmuTarget::remove_fabric(const std::string& fabric, Steps& steps) const {
  remove_directory(lun_path(fabric), steps);
  remove_directory(fabric + "/tpgt_1", steps);
  remove_directory(fabric, steps);
}

std::string TcmuTarget::make_disk() {
  const std::string fabric = make_fabric();
  if (::symlink(backstore_.c_str(), (lun_path(fabric) + "/" + name_).c_str()) != 0) {
    throw_errno("link " + backstore_ + " to its target");
  }
  const std::string address = read_attribute(fabric + "/tpgt_1/address");
  for (int round = 0; round < kDiskRounds; ++round) {
    const std::string path = disk_at(address);
    if (!path.empty()) {
      tune_disk(path);
      return path;
    }
    std::this_thread::sleep_for(kDiskPause);
  }
  throw_errno("wait for the SCSI disk " + address, ETIMEDOUT);
}

std::string TcmuTarget::disk_path() const {
  const std::string fabric = find_fabric();
  return fabric.empty() ? "" : disk_at(read_attribute(fabric + "/tpgt_1/address"));
}

void TcmuTarget::remove_disk(Steps& steps) {
  for (size_t attempt = 0; attempt < fabrics_.size(); ++attempt) {
    const std::string& fabric = fabrics_[attempt];
    const std::string link = lun_path(fabric) + "/" + name_;
    steps.begin("unlink " + link);
    if (::unlink(link.c_str()) != 0) {
      if (errno != ENOENT) throw_errno("unlink " + link);
      // Half made, or somebody else's who got the same name.
      const std::string nexus = read_attribute(fabric + "/tpgt_1/nexus");
      if (!names_in(fabric).empty() && !nexus.empty() && nexus != nexuses_[attempt]) continue;
    }
    remove_fabric(fabric, steps);
  }
}

void TcmuTarget::remove_backstore(Steps& steps) {
  remove_directory(backstore_, steps);
  steps.begin("rmdir " + adapter_);
  remove_if_empty(adapter_);  // the last device of the instance takes the adapter along
}

void remove_tcmu_adapter(const std::string& owner) { remove_if_empty(adapter_path(owner)); }

std::vector<DeviceLabel> list_tcmu_targets(const std::string& owner) {
  std::vector<DeviceLabel> labels;
  const std::string prefix = "obd-" + owner + "-";
  for (const std::string& name : names_in(adapter_path(owner))) {
    if (name.compare(0, prefix.size(), prefix) != 0) continue;
    if (const auto label = DeviceLabel::parse("obd:" + owner + "/" + name.substr(prefix.size()))) labels.push_back(*label);
  }
  return labels;
}

}  // namespace obd

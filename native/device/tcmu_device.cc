#include "device/tcmu_device.h"

#include <unistd.h>

#include <optional>
#include <system_error>

#include "device/block_node.h"
#include "error.h"

namespace obd {
namespace {

// Stands in for a disk whose server is dead: what waits for it fails, what must end does.
class DeadDisk : public BlockDevice {
 public:
  uint64_t size() const override { return uint64_t{1} << 40; }
  bool writable() const override { return true; }
  bool try_read(void*, size_t, uint64_t, Misses&) override { fail(); }
  void write(const void*, size_t, uint64_t) override { fail(); }
  void discard(uint64_t, uint64_t) override { fail(); }
  void flush() override {}

 private:
  [[noreturn]] static void fail() { throw_errno("the device server is dead", EIO); }
};

}  // namespace

TcmuDevice::TcmuDevice(const DeviceLabel& label, std::string inflight_path)
    : target_(label), inflight_path_(std::move(inflight_path)) {}

void TcmuDevice::serve(const DiskRequests& requests, HelpingThreads& helpers, bool anew) {
  server_ = std::make_shared<TcmuServer>(requests, helpers, target_.serial(), target_.uio_path(), inflight_path_, anew);
  server_->start();
}

std::unique_ptr<TcmuDevice> TcmuDevice::attach(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label,
                                               const std::string& inflight_path) {
  // The destructor takes back what was made when something fails.
  std::unique_ptr<TcmuDevice> device(new TcmuDevice(label, inflight_path));
  device->target_.make_backstore(requests.disk().size());
  device->serve(requests, helpers, true);
  device->path_ = device->target_.make_disk();
  return device;
}

std::unique_ptr<TcmuDevice> TcmuDevice::take_over(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label,
                                                  const std::string& inflight_path) {
  std::unique_ptr<TcmuDevice> device(new TcmuDevice(label, inflight_path));
  device->gone_ = !device->target_.has_backstore();
  if (device->gone_) return nullptr;
  if (device->target_.has_ring()) {
    device->serve(requests, helpers, false);
    device->path_ = device->target_.disk_path();
  }
  if (!device->path_.empty()) return device;
  Steps unseen;
  device->tear_down(unseen);  // its server died before there was a disk
  return nullptr;
}

TcmuDevice::~TcmuDevice() {
  if (gone_) return;
  try {
    Steps unseen;
    tear_down(unseen);
  } catch (const std::system_error&) {
    // The kernel keeps it; the next start of the instance finds and releases it.
  }
}

void TcmuDevice::tear_down(Steps& steps) {
  target_.remove_disk(steps);
  target_.remove_backstore(steps);
  steps.begin("the end of the thread that serves " + path_);
  if (server_) server_->join();  // its thread ends with the backstore
  ::unlink(inflight_path_.c_str());
  gone_ = true;
}

bool TcmuDevice::try_detach(Steps& steps) {
  if (gone_) return true;
  // Not the second time, after a failure on the way: by now another disk may have the name.
  std::optional<UniqueFd> claim;
  if (target_.has_disk()) {
    steps.begin("open " + path_);
    claim = claim_block_device(path_);
    if (!claim) return false;
  }
  tear_down(steps);
  return true;
}

std::vector<FoundDevice> list_tcmu_devices(const std::string& owner) {
  std::vector<FoundDevice> found;
  for (const DeviceLabel& label : list_tcmu_targets(owner)) found.push_back({label, TcmuTarget(label).disk_path()});
  return found;
}

void release_tcmu_device(const DeviceLabel& label, const std::string& inflight_path, Steps& steps) {
  steps.begin("taking over " + label.text());
  FetchManager no_fetches([](const FetchRequest&) {});
  HelpingThreads no_helpers(0);
  const DiskRequests requests(std::make_shared<DeadDisk>(), no_fetches, [](const DeviceFault&) {});
  const auto device = TcmuDevice::take_over(requests, no_helpers, label, inflight_path);
  if (device) device->tear_down(steps);
}

std::string inflight_path(const std::string& directory, const DeviceLabel& label) {
  return directory + "/" + std::to_string(label.number) + ".inflight";
}

}  // namespace obd

#include "device/ublk_device.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "device/block_node.h"
#include "device/ublk_control.h"
#include "error.h"
#include "system/sharded_mutex.h"

namespace obd {
namespace {

constexpr unsigned kMaxQueues = 4;
static_assert(kMaxQueues <= ShardedMutex::kQueues);
// Of one discard or write-zeroes request: 4 GiB less a sector, what 32 bits of sectors and bytes can say.
constexpr uint32_t kMaxZeroSectors = UINT32_MAX >> 9;

unsigned queue_count() { return std::clamp(std::thread::hardware_concurrency(), 1u, kMaxQueues); }

ublk_params params_of(const BlockDevice& disk) {
  ublk_params params{};
  params.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;
  params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | (disk.writable() ? 0 : UBLK_ATTR_READ_ONLY);
  params.basic.logical_bs_shift = 9;
  params.basic.physical_bs_shift = 12;
  params.basic.io_opt_shift = 12;
  params.basic.io_min_shift = 12;
  params.basic.max_sectors = UblkQueue::kMaxTransfer >> 9;
  params.basic.dev_sectors = disk.size() >> 9;
  params.discard.discard_granularity = 512;
  params.discard.max_discard_sectors = kMaxZeroSectors;
  params.discard.max_write_zeroes_sectors = kMaxZeroSectors;
  params.discard.max_discard_segments = 1;
  return params;
}

std::string char_path(uint32_t id) { return char_node("ublk-char", "ublkc" + std::to_string(id)); }
std::string block_path(uint32_t id) { return block_node("ublkb" + std::to_string(id)); }

void stop(uint32_t id, Steps& steps) {
  steps.begin("stopping ublk device " + std::to_string(id));
  ublk_stop(id);
}
void remove(uint32_t id, Steps& steps) {
  steps.begin("deleting ublk device " + std::to_string(id));
  ublk_delete(id);
}

}  // namespace

std::unique_ptr<UblkDevice> UblkDevice::attach(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label) {
  ublksrv_ctrl_dev_info info{};
  info.nr_hw_queues = static_cast<uint16_t>(queue_count());
  info.queue_depth = UblkQueue::kDepth;
  info.max_io_buf_bytes = UblkQueue::kMaxTransfer;
  info.flags = kUblkFeatures;
  info.ublksrv_flags = label.packed();
  ublk_add(info);
  // From here on the destructor takes back what was made.
  std::unique_ptr<UblkDevice> device(new UblkDevice(info.dev_id));
  check_ublk_features();
  ublk_params params = params_of(requests.disk());
  ublk_set_params(info.dev_id, params);
  device->start_queues(requests, helpers, info.nr_hw_queues);
  ublk_start(info.dev_id);
  device->path_ = block_path(info.dev_id);
  return device;
}

std::unique_ptr<UblkDevice> UblkDevice::take_over(const DiskRequests& requests, HelpingThreads& helpers, const DeviceLabel& label) {
  for (const ublksrv_ctrl_dev_info& info : ublk_list()) {
    if (info.ublksrv_flags != label.packed()) continue;
    ublk_start_recovery(info.dev_id);
    std::unique_ptr<UblkDevice> device(new UblkDevice(info.dev_id));
    device->start_queues(requests, helpers, info.nr_hw_queues);
    ublk_end_recovery(info.dev_id);
    device->path_ = block_path(info.dev_id);
    return device;
  }
  return nullptr;
}

UblkDevice::~UblkDevice() {
  if (gone_) return;
  try {
    Steps unseen;
    tear_down(unseen);
  } catch (const std::system_error&) {
    // The kernel keeps it; the next start of the instance finds and releases it.
  }
}

void UblkDevice::start_queues(const DiskRequests& requests, HelpingThreads& helpers, unsigned count) {
  const auto open_device = std::make_shared<UniqueFd>(::open(char_path(id_).c_str(), O_RDWR | O_CLOEXEC));
  if (!*open_device) throw_errno("open " + char_path(id_));
  for (uint16_t number = 0; number < count; ++number) {
    auto queue = std::make_shared<UblkQueue>(open_device, number, requests, helpers);
    queue->start();
    queues_.push_back(std::move(queue));
  }
}

void UblkDevice::tear_down(Steps& steps) {
  stop(id_, steps);
  stopped_ = true;
  steps.begin("the end of the threads that serve " + path_);
  for (const auto& queue : queues_) queue->join();
  queues_.clear();
  remove(id_, steps);
  gone_ = true;
}

bool UblkDevice::try_detach(Steps& steps) {
  if (gone_) return true;
  // Not the second time, after a failure on the way: by now the node is gone.
  std::optional<UniqueFd> claim;
  if (!stopped_) {
    steps.begin("open " + path_);
    claim = claim_block_device(path_);
    if (!claim) return false;
  }
  tear_down(steps);
  return true;
}

std::vector<FoundDevice> list_ublk_devices(const std::string& owner) {
  const uint64_t wanted = DeviceLabel::packed_owner(DeviceLabel{owner, 0}.packed());
  std::vector<FoundDevice> found;
  for (const ublksrv_ctrl_dev_info& info : ublk_list()) {
    if (info.ublksrv_flags == 0 || DeviceLabel::packed_owner(info.ublksrv_flags) != wanted) continue;
    const bool shown = info.state != UBLK_S_DEV_DEAD;
    found.push_back({{owner, DeviceLabel::packed_number(info.ublksrv_flags)}, shown ? "/dev/ublkb" + std::to_string(info.dev_id) : ""});
  }
  return found;
}

void release_ublk_device(const DeviceLabel& label, Steps& steps) {
  for (const ublksrv_ctrl_dev_info& info : ublk_list()) {
    if (info.ublksrv_flags != label.packed()) continue;
    stop(info.dev_id, steps);
    remove(info.dev_id, steps);
  }
}

}  // namespace obd

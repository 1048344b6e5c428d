#include "device/fuse_device.h"

#include <algorithm>
#include <thread>

#include "system/sharded_mutex.h"

namespace obd {
namespace {

constexpr unsigned kMaxThreads = 8;  // each reads a queue of its own
static_assert(kMaxThreads <= ShardedMutex::kQueues);

unsigned serving_threads() { return std::clamp(std::thread::hardware_concurrency(), 4u, kMaxThreads); }

LoopDevice attach_loop(FuseServer& server, bool writable, const std::string& label) {
  LoopDevice::Options options;
  options.read_only = !writable;
  options.label = label;
  LoopDevice loop = LoopDevice::attach(server.file(), options);
  // From here on the loop device alone keeps the fuse file open: when it goes, all goes.
  server.close_file();
  return loop;
}

}  // namespace

FuseDevice::FuseDevice(const std::shared_ptr<BlockDevice>& disk, FetchManager& fetches, FaultListener on_fault,
                       const std::string& label)
    : server_(std::make_unique<FuseServer>(disk, fetches, std::move(on_fault), serving_threads())),
      loop_(attach_loop(*server_, disk->writable(), label)),
      path_(loop_.path()) {}

bool FuseDevice::try_detach(Steps& steps) {
  steps.begin("closing " + path_);
  if (!loop_.try_detach()) return false;
  steps.begin("the end of the threads that serve " + path_);
  server_.reset();  // the threads end with the last reference to the file, which the loop device had
  return true;
}

}  // namespace obd

// The layers and devices of one device server process, by number: what addon_device.cc makes callable.
// All calls may block and belong on threads of their own, except those marked otherwise.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "blob/fetch_manager.h"
#include "device/device_fault.h"
#include "device/helping_threads.h"
#include "device/served_device.h"
#include "device/stack_device.h"
#include "device/teardown.h"
#include "ext4/explain_reads.h"
#include "lsmt/commit.h"
#include "lsmt/layer.h"
#include "lsmt/trace_recorder.h"

namespace obd {

// The two files of a writable layer (lsmt/writable_layer.h).
struct WritableFiles {
  std::string data, index;
};

// Where the bytes of a blob are: in a file, or in a registry (`source` as for RemoteBlob).
struct BlobPlace {
  std::string digest;
  uint64_t size = 0;   // bytes
  std::string path;    // empty: in a registry
  std::string source;
};

struct AttachRequest {
  DeviceKind kind = DeviceKind::fuse;
  std::vector<uint64_t> lowers;           // layer numbers, bottom first
  std::optional<WritableFiles> writable;  // files to be created; none: a read-only device
  uint64_t virtual_size = 0;              // bytes; for a disk without lowers
  std::string label;                      // DeviceLabel: tells whose device it is when its owner is gone
  std::string directory;                  // for what the server itself has to keep
  bool record_trace = false;              // notes what is read (recorded_trace)
};

// What a server that died has left.
struct TakeOverRequest {
  DeviceKind kind = DeviceKind::ublk;
  std::vector<uint64_t> lowers;
  std::optional<WritableFiles> writable;  // existing files
  std::string label, directory;           // as at the attach
  uint64_t first_write = 0;               // where the write counter starts
};

struct AttachedDevice {
  uint64_t id;
  std::string path;  // e.g. "/dev/loop0"
  uint64_t size;     // bytes
};

// A failed request of device `id`.
using HostFaultListener = std::function<void(uint64_t id, const DeviceFault&)>;

class DeviceHost {
 public:
  // `send` asks for bytes of remote blobs (FetchManager); `on_fault` is called from serving threads.
  DeviceHost(FetchManager::Send send, HostFaultListener on_fault);

  // Where fetched bytes are kept, and how many of them at most (trim_cache). Before the first remote layer.
  void set_cache(const std::string& directory, uint64_t limit);

  // Opens a sealed layer in a file, or in a registry through the cache. A layer that is
  // open already is shared. Returns its number, to be given back with close_layer.
  uint64_t open_file(const std::string& digest, const std::string& path);
  uint64_t open_remote(const std::string& digest, uint64_t size, const std::string& source);
  // Opens a turboOCI layer: its archive, and the blob of the ordinary layer that it points into.
  uint64_t open_turbo(const BlobPlace& archive, const BlobPlace& target);
  // Opens a layer that a server which died has frozen, lying on `lowers`.
  uint64_t open_frozen(const WritableFiles& files, const std::vector<uint64_t>& lowers);
  // Forgets the number; devices that have the layer keep it. Does not block.
  void close_layer(uint64_t layer);

  AttachedDevice attach(const AttachRequest& request);
  // Serves a device on whose server has died. Nullopt when the kernel does not have it.
  std::optional<AttachedDevice> take_over(const TakeOverRequest& request);
  // Live seal with a new writable layer in `next`. The number of the frozen layer; nullopt when the write
  // counter is not `if_writes`.
  std::optional<uint64_t> seal(uint64_t device, const WritableFiles& next, std::optional<uint64_t> if_writes);
  // Makes a sealed layer blob of a layer that `seal` froze; with `former`, of the sealed layer in that file, on
  // which it lies, and of what it wrote.
  CommitResult commit(uint64_t layer, const std::string& path, const std::string& uuid,
                      const std::optional<std::string>& parent_uuid, const std::optional<std::string>& former);
  StackDevice::Counters counters(uint64_t device) const;  // does not block
  // What was read of the device's remote layers since the last call. Does not block.
  std::vector<TracedRun> take_trace(uint64_t device) const;
  // Gets these parts of the device's remote layers before anybody reads them. Returns at once.
  void prefetch(uint64_t device, const std::vector<TracedRun>& runs);
  // The same of layers that are open.
  void prefetch_layers(const std::vector<uint64_t>& layers, const std::vector<TracedRun>& runs);
  // What was read of the device since its attach, as overlaybd's trace file. Empty unless the attach wanted it.
  std::string recorded_trace(uint64_t device) const;
  // Gets what a trace file, or a list of paths, names before anybody reads it, as far as it can be had. Returns at
  // once. Throws FormatError for a damaged one.
  void replay_trace(uint64_t device, const std::string& trace);
  // From now on keeps what explain_reads() needs: which bytes were fetched, and the bases of the devices.
  void note_reads();
  // What was fetched so far, by the files behind it. May have to fetch more for it, which is not in the report.
  std::vector<ext4::ExplainedBlob> explain_reads();
  // Reads all of a remote layer and compares it with its digest. Does nothing for one in a file.
  void verify(uint64_t layer);
  // False while the device is mounted or open elsewhere. No error when it is gone already. Throws std::runtime_error,
  // which names the step, when one waits longer than `patience`: call it again.
  bool detach(uint64_t device, std::chrono::milliseconds patience);

  FetchManager& fetches() { return fetches_; }

 private:
  struct OpenLayer {
    std::shared_ptr<Layer> layer;
    std::shared_ptr<const Below> below;  // of a layer frozen here
    std::vector<std::shared_ptr<RemoteBlob>> remotes;  // what of it is in a registry
  };
  struct SharedLayer {
    std::weak_ptr<Layer> open;
    std::vector<std::weak_ptr<RemoteBlob>> remotes;
    std::shared_future<OpenLayer> opening;  // valid while somebody opens it
  };
  struct Device {
    std::shared_ptr<StackDevice> disk;
    std::unique_ptr<ServedDevice> served;
    std::map<std::string, std::shared_ptr<RemoteBlob>> remotes;  // by digest
    std::vector<std::shared_ptr<Layer>> lowers;
    std::shared_ptr<TraceRecorder> recorder;
    std::mutex mutex;  // one seal or detach at a time
    std::shared_ptr<Teardown> teardown;  // under way; with the mutex of the host
  };

  using Remotes = std::map<std::string, std::shared_ptr<RemoteBlob>>;  // by digest
  void prefetch_runs(Remotes remotes, const std::vector<TracedRun>& runs);
  uint64_t add_layer(OpenLayer layer);
  uint64_t take_number();
  std::vector<std::shared_ptr<Layer>> layers_of(const std::vector<uint64_t>& numbers) const;
  FaultListener fault_listener(uint64_t device);
  OpenLayer layer(uint64_t number) const;
  std::shared_ptr<Device> device(uint64_t id) const;
  std::map<std::string, std::shared_ptr<RemoteBlob>> remotes_of(const std::vector<uint64_t>& numbers) const;
  uint64_t open_shared(const std::string& key, const std::function<OpenLayer()>& open);
  std::shared_ptr<Blob> open_blob(const BlobPlace& place, OpenLayer& of) const;
  void note_base(const std::vector<uint64_t>& lowers);
  void cache_grew(uint64_t bytes);
  void trim_cache_aside();

  const HostFaultListener on_fault_;
  mutable std::mutex mutex_;
  uint64_t next_number_ = 1;
  std::map<uint64_t, OpenLayer> layers_;
  std::map<std::string, SharedLayer> shared_;  // by kind, digest and place
  HelpingThreads helpers_;  // longer than the devices
  std::map<uint64_t, std::shared_ptr<Device>> devices_;
  std::atomic<bool> notes_reads_{false};
  std::vector<std::vector<std::shared_ptr<Layer>>> bases_;  // when reads are noted; they stay open
  std::string cache_dir_;
  uint64_t cache_limit_ = UINT64_MAX;
  std::atomic<uint64_t> cache_growth_{0};  // since it was trimmed
  // Last: their threads end before what they use.
  FetchManager fetches_;
  WorkerThreads aside_;  // for what nobody waits for
};

}  // namespace obd

#include "device/device_host.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "blob/cache_limit.h"
#include "blob/local_blob.h"
#include "device/explain.h"
#include "device/fuse_device.h"
#include "device/prefetch_read.h"
#include "device/priority_list.h"
#include "device/remote_layer.h"
#include "device/tcmu_device.h"
#include "device/ublk_device.h"
#include "error.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/turbo_layer.h"

namespace obd {
namespace {

// The block cache is looked at again when it has grown by this share of its limit.
constexpr uint64_t kTrimShare = 16;
// udev and the like open a new block device for a moment now and then.
constexpr auto kBusyPause = std::chrono::milliseconds(5);
constexpr int kBusyRounds = 40;
// Rounds of fetching that opening a turboOCI layer takes: its archive, the head of a tar, and some for luck.
constexpr int kOpenRounds = 8;
constexpr int kVerifyRounds = 2;

// What they do is reading little of what is local, and asking for what is not.
constexpr unsigned kAsideThreads = 2;

unsigned helper_threads() { return std::clamp(std::thread::hardware_concurrency(), 2u, 8u); }

DeviceLabel label_of(const std::string& text) {
  const std::optional<DeviceLabel> label = DeviceLabel::parse(text);
  if (!label) throw std::runtime_error("\"" + text + "\" is not a device label");
  return *label;
}

std::unique_ptr<ServedDevice> serve(const AttachRequest& request, const std::shared_ptr<BlockDevice>& disk,
                                    FetchManager& fetches, HelpingThreads& helpers, const FaultListener& on_fault) {
  if (request.kind == DeviceKind::fuse) return std::make_unique<FuseDevice>(disk, fetches, on_fault, request.label);
  const DeviceLabel label = label_of(request.label);
  const DiskRequests requests(disk, fetches, on_fault);
  if (request.kind == DeviceKind::ublk) return UblkDevice::attach(requests, helpers, label);
  return TcmuDevice::attach(requests, helpers, label, inflight_path(request.directory, label));
}

std::string key_of(const BlobPlace& place) { return place.digest + " " + (place.path.empty() ? place.source : place.path); }

// Gets bytes of a layer's LSMT file before anybody reads them. What is wrong with them, their reader will see.
void prefetch_bytes(FetchManager& fetches, const Layer& layer, uint64_t offset, uint64_t count) {
  const auto sealed = dynamic_cast<const SealedLayer*>(&layer);
  if (sealed == nullptr || offset > sealed->content()->size()) return;
  const uint64_t end = offset + std::min(count, sealed->content()->size() - offset);
  try {
    prefetch_read(fetches, offset, end, [&](void* buf, size_t part, uint64_t at, Misses& misses) { sealed->content()->try_read(buf, part, at, misses); });
  } catch (const std::exception&) {
  }
}

// A writable layer whose files go away again when it could not be put to use.
class NewWritable {
 public:
  NewWritable(const WritableFiles& files, uint64_t size, const std::string& parent_uuid)
      : files_(files), layer_(WritableLayer::create(files.data, files.index, size, "", parent_uuid)) {}
  ~NewWritable() {
    if (!used_) {
      ::unlink(files_.data.c_str());
      ::unlink(files_.index.c_str());
    }
  }
  NewWritable(const NewWritable&) = delete;
  NewWritable& operator=(const NewWritable&) = delete;
  const std::shared_ptr<WritableLayer>& layer() const { return layer_; }
  void keep() { used_ = true; }

 private:
  const WritableFiles& files_;
  std::shared_ptr<WritableLayer> layer_;
  bool used_ = false;
};

}  // namespace

DeviceHost::DeviceHost(FetchManager::Send send, HostFaultListener on_fault)
    : on_fault_(std::move(on_fault)),
      helpers_(helper_threads()),
      fetches_(std::move(send), [this](uint64_t bytes) { cache_grew(bytes); }),
      aside_(kAsideThreads, "obd-aside") {}

uint64_t DeviceHost::add_layer(OpenLayer layer) {
  const std::lock_guard lock(mutex_);
  layers_.emplace(next_number_, std::move(layer));
  return next_number_++;
}

DeviceHost::OpenLayer DeviceHost::layer(uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const auto found = layers_.find(number);
  if (found == layers_.end()) throw std::runtime_error("layer " + std::to_string(number) + " is not open");
  return found->second;
}

std::shared_ptr<DeviceHost::Device> DeviceHost::device(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = devices_.find(id);
  if (found == devices_.end()) throw std::runtime_error("device " + std::to_string(id) + " is not attached");
  return found->second;
}

void DeviceHost::set_cache(const std::string& directory, uint64_t limit) {
  cache_dir_ = directory;
  cache_limit_ = limit;
  trim_cache_aside();
}

void DeviceHost::cache_grew(uint64_t bytes) {
  if (cache_growth_.fetch_add(bytes) + bytes >= cache_limit_ / kTrimShare) trim_cache_aside();
}

void DeviceHost::trim_cache_aside() {
  cache_growth_ = 0;
  aside_.run([this] { trim_cache(cache_dir_, cache_limit_); });
}

uint64_t DeviceHost::open_shared(const std::string& key, const std::function<OpenLayer()>& open) {
  std::promise<OpenLayer> opened;
  std::shared_future<OpenLayer> opening;
  {
    const std::lock_guard lock(mutex_);
    const SharedLayer& known = shared_[key];
    if (std::shared_ptr<Layer> layer = known.open.lock()) {
      OpenLayer opened_before{std::move(layer), nullptr, {}};
      for (const auto& remote : known.remotes) {
        if (std::shared_ptr<RemoteBlob> blob = remote.lock()) opened_before.remotes.push_back(std::move(blob));
      }
      layers_.emplace(next_number_, std::move(opened_before));
      return next_number_++;
    }
    opening = known.opening;
    if (!opening.valid()) shared_[key].opening = opened.get_future().share();
  }
  if (opening.valid()) return add_layer(opening.get());

  OpenLayer layer;
  std::exception_ptr error;
  try {
    layer = open();
    opened.set_value(layer);
  } catch (...) {
    error = std::current_exception();
    opened.set_exception(error);
  }
  {
    const std::lock_guard lock(mutex_);
    if (error) {
      shared_.erase(key);
    } else {
      shared_[key] = {layer.layer, {layer.remotes.begin(), layer.remotes.end()}, {}};
    }
  }
  if (error) std::rethrow_exception(error);
  return add_layer(std::move(layer));
}

uint64_t DeviceHost::open_file(const std::string& digest, const std::string& path) {
  return open_shared("file " + digest + " " + path, [&] {
    return OpenLayer{SealedLayer::open(std::make_shared<LocalBlob>(path)), nullptr, {}};
  });
}

uint64_t DeviceHost::open_remote(const std::string& digest, uint64_t size, const std::string& source) {
  return open_shared("remote " + digest + " " + source, [&] {
    const auto blob = std::make_shared<RemoteBlob>(digest, size, source, cache_dir_);
    return OpenLayer{open_remote_layer(fetches_, blob), nullptr, {blob}};
  });
}

std::shared_ptr<Blob> DeviceHost::open_blob(const BlobPlace& place, OpenLayer& of) const {
  if (!place.path.empty()) return std::make_shared<LocalBlob>(place.path);
  of.remotes.push_back(std::make_shared<RemoteBlob>(place.digest, place.size, place.source, cache_dir_));
  return of.remotes.back();
}

uint64_t DeviceHost::open_turbo(const BlobPlace& archive, const BlobPlace& target) {
  return open_shared("turbo " + key_of(archive) + " on " + key_of(target), [&] {
    OpenLayer opened;
    const std::shared_ptr<Blob> meta = open_blob(archive, opened), tar = open_blob(target, opened);
    for (int round = 0; round < kOpenRounds; ++round) {
      Misses misses;
      opened.layer = try_open_turbo_layer(meta, archive.digest, tar, misses);
      if (opened.layer) return opened;
      fetches_.wait_local(misses);
    }
    throw std::runtime_error(archive.digest + ": the layer does not stay in the block cache");
  });
}

void DeviceHost::close_layer(uint64_t layer) {
  OpenLayer closed;  // ends outside of the lock
  const std::lock_guard lock(mutex_);
  const auto found = layers_.find(layer);
  if (found == layers_.end()) return;
  closed = std::move(found->second);
  layers_.erase(found);
}

uint64_t DeviceHost::open_frozen(const WritableFiles& files, const std::vector<uint64_t>& lowers) {
  OpenLayer opened;
  opened.layer = WritableLayer::open_frozen(files.data, files.index);
  opened.below = lowers.empty() ? std::make_shared<Below>(std::make_shared<FrozenIndex>())
                                : Stack(layers_of(lowers), nullptr).below_top();
  return add_layer(std::move(opened));
}

uint64_t DeviceHost::take_number() {
  const std::lock_guard lock(mutex_);
  return next_number_++;
}

std::vector<std::shared_ptr<Layer>> DeviceHost::layers_of(const std::vector<uint64_t>& numbers) const {
  std::vector<std::shared_ptr<Layer>> layers;
  for (const uint64_t number : numbers) layers.push_back(layer(number).layer);
  return layers;
}

FaultListener DeviceHost::fault_listener(uint64_t device) {
  return [this, device](const DeviceFault& fault) { on_fault_(device, fault); };
}

AttachedDevice DeviceHost::attach(const AttachRequest& request) {
  std::vector<std::shared_ptr<Layer>> lowers = layers_of(request.lowers);
  uint64_t size = request.virtual_size;
  for (const auto& lower : lowers) {
    if (lower->virtual_size() != 0) size = lower->virtual_size();
  }
  std::optional<NewWritable> writable;
  // What is sealed first names the layer it was built on, also when only its blob knows the uuid.
  const std::string parent = lowers.empty() ? "" : lowers.back()->uuid();
  if (request.writable) writable.emplace(*request.writable, size, parent);

  const uint64_t id = take_number();
  auto device = std::make_shared<Device>();
  device->lowers = lowers;
  if (request.record_trace) {
    device->recorder = std::make_shared<TraceRecorder>();
    lowers = device->recorder->watch(lowers);
  }
  device->disk = std::make_shared<StackDevice>(
      std::make_unique<Stack>(std::move(lowers), writable ? writable->layer() : nullptr));
  device->remotes = remotes_of(request.lowers);
  note_base(request.lowers);
  device->served = serve(request, device->disk, fetches_, helpers_, fault_listener(id));
  if (writable) writable->keep();
  const AttachedDevice attached{id, device->served->path(), device->disk->size()};
  const std::lock_guard lock(mutex_);
  devices_.emplace(id, std::move(device));
  return attached;
}

std::optional<AttachedDevice> DeviceHost::take_over(const TakeOverRequest& request) {
  const uint64_t id = take_number();
  const DeviceLabel label = label_of(request.label);
  std::shared_ptr<WritableLayer> top;
  if (request.writable) top = WritableLayer::open(request.writable->data, request.writable->index);
  auto device = std::make_shared<Device>();
  device->disk = std::make_shared<StackDevice>(std::make_unique<Stack>(layers_of(request.lowers), top), request.first_write);
  device->remotes = remotes_of(request.lowers);
  note_base(request.lowers);
  const DiskRequests requests(device->disk, fetches_, fault_listener(id));
  if (request.kind == DeviceKind::ublk) device->served = UblkDevice::take_over(requests, helpers_, label);
  if (request.kind == DeviceKind::tcmu) {
    device->served = TcmuDevice::take_over(requests, helpers_, label, inflight_path(request.directory, label));
  }
  if (!device->served) return std::nullopt;
  const AttachedDevice attached{id, device->served->path(), device->disk->size()};
  const std::lock_guard lock(mutex_);
  devices_.emplace(id, std::move(device));
  return attached;
}

std::optional<uint64_t> DeviceHost::seal(uint64_t id, const WritableFiles& next, std::optional<uint64_t> if_writes) {
  const std::shared_ptr<Device> target = device(id);
  const std::lock_guard lock(target->mutex);
  if (!target->disk->writable()) throw std::runtime_error(target->served->path() + " is read-only: there is nothing to seal");
  NewWritable writable(next, target->disk->size(), "");
  std::optional<Stack::Frozen> frozen = target->disk->seal(fetches_, writable.layer(), if_writes);
  if (!frozen) return std::nullopt;
  writable.keep();
  return add_layer({std::move(frozen->layer), std::move(frozen->below), {}});
}

CommitResult DeviceHost::commit(uint64_t number, const std::string& path, const std::string& uuid,
                                const std::optional<std::string>& parent_uuid, const std::optional<std::string>& former) {
  const OpenLayer frozen = layer(number);
  CommitOptions options;
  options.zfile->threads = std::max(1u, std::thread::hardware_concurrency());
  options.uuid = uuid;
  options.parent_uuid = parent_uuid;
  if (!former) {
    options.below = frozen.below;
    return obd::commit(*frozen.layer, options, path);
  }
  // All discarded ranges are kept: `below` would have the former layer among what lies below.
  return commit_onto(SealedLayer::open(std::make_shared<LocalBlob>(*former)), *frozen.layer, options, path);
}

StackDevice::Counters DeviceHost::counters(uint64_t id) const { return device(id)->disk->counters(); }

std::vector<TracedRun> DeviceHost::take_trace(uint64_t id) const { return device(id)->disk->take_trace(); }

void DeviceHost::prefetch(uint64_t id, const std::vector<TracedRun>& runs) {
  prefetch_runs(device(id)->remotes, runs);
}

void DeviceHost::prefetch_layers(const std::vector<uint64_t>& layers, const std::vector<TracedRun>& runs) {
  prefetch_runs(remotes_of(layers), runs);
}

void DeviceHost::prefetch_runs(Remotes remotes, const std::vector<TracedRun>& runs) {
  aside_.run([this, remotes = std::move(remotes), runs] {
    for (const TracedRun& run : runs) {
      const auto found = remotes.find(run.digest);
      if (found != remotes.end()) fetches_.prefetch(*found->second, run.first, run.count);
    }
  });
}

std::string DeviceHost::recorded_trace(uint64_t id) const {
  const std::shared_ptr<Device> target = device(id);
  return target->recorder ? write_trace(target->recorder->records()) : "";
}

void DeviceHost::replay_trace(uint64_t id, const std::string& trace) {
  if (!is_trace(trace)) {
    prefetch_listed(fetches_, aside_, device(id)->lowers, parse_priority_list(trace, "the image's priority list"));
    return;
  }
  aside_.run([this, lowers = device(id)->lowers, records = parse_trace(trace, "the image's trace")] {
    for (const TraceRecord& record : records) {
      if (record.layer < lowers.size()) prefetch_bytes(fetches_, *lowers[record.layer], record.offset, record.count);
    }
  });
}

void DeviceHost::note_reads() {
  notes_reads_ = true;
  fetches_.note_ranges();
}

// The layers from the first to the last that has bytes in a registry: what is above was built here.
void DeviceHost::note_base(const std::vector<uint64_t>& lowers) {
  if (!notes_reads_) return;
  std::vector<std::shared_ptr<Layer>> base;
  size_t end = 0;
  for (const uint64_t number : lowers) {
    const OpenLayer open = layer(number);
    base.push_back(open.layer);
    if (!open.remotes.empty()) end = base.size();
  }
  base.resize(end);
  const std::lock_guard lock(mutex_);
  if (end > 0 && std::find(bases_.begin(), bases_.end(), base) == bases_.end()) bases_.push_back(std::move(base));
}

std::vector<ext4::ExplainedBlob> DeviceHost::explain_reads() {
  std::vector<std::vector<std::shared_ptr<Layer>>> bases;
  {
    const std::lock_guard lock(mutex_);
    bases = bases_;
  }
  return explain_bases(fetches_, bases, fetches_.fetched_ranges());
}

void DeviceHost::verify(uint64_t number) {
  const OpenLayer open = layer(number);
  for (const std::shared_ptr<RemoteBlob>& blob : open.remotes) {
    // Once more for a blob that was fetched wrong (RemoteBlob::check_whole).
    for (int round = 0; round < kVerifyRounds; ++round) {
      Misses missing;
      for (uint64_t extent = 0; extent < blob->layout().count(); ++extent) {
        if (!blob->has(extent)) missing.push_back({blob.get(), extent});
      }
      fetches_.wait_local(missing);
    }
    const std::string problem = blob->check_whole();
    if (!problem.empty()) throw std::runtime_error(blob->name() + ": " + problem);
  }
}

std::map<std::string, std::shared_ptr<RemoteBlob>> DeviceHost::remotes_of(const std::vector<uint64_t>& numbers) const {
  std::map<std::string, std::shared_ptr<RemoteBlob>> remotes;
  for (const uint64_t number : numbers) {
    const OpenLayer open = layer(number);
    for (const std::shared_ptr<RemoteBlob>& remote : open.remotes) remotes.emplace(remote->name(), remote);
  }
  return remotes;
}

bool DeviceHost::detach(uint64_t id, std::chrono::milliseconds patience) {
  std::shared_ptr<Device> target;
  std::shared_ptr<Teardown> teardown;
  {
    const std::lock_guard lock(mutex_);
    const auto found = devices_.find(id);
    if (found == devices_.end()) return true;
    target = found->second;
    if (!target->teardown) {
      target->teardown = std::make_shared<Teardown>([target](Steps& steps) {
        steps.begin("the seal under way");
        const std::lock_guard seal_lock(target->mutex);
        for (int round = 0; !target->served->try_detach(steps); ++round) {
          if (round == kBusyRounds) return false;
          std::this_thread::sleep_for(kBusyPause);
        }
        return true;
      });
    }
    teardown = target->teardown;
  }
  try {
    teardown->wait(patience);
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(target->served->path() + " cannot be detached: " + e.what());
  }
  const std::lock_guard lock(mutex_);
  if (target->teardown == teardown) target->teardown.reset();
  const bool gone = teardown->result();
  if (gone) devices_.erase(id);
  return gone;
}

}  // namespace obd

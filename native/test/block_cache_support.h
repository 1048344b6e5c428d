// A layer in a registry, and the processes of a host that read it through one block cache.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "blob/fetch_manager.h"
#include "device/remote_layer.h"
#include "device/stack_device.h"
#include "layer_support.h"
#include "lsmt/commit.h"

namespace obd::test {

// A tar-wrapped ZFile layer of `megabytes` of half compressible data, as a registry has it.
inline std::string sealed_layer(const TempDir& dir, uint64_t megabytes, uint32_t block_size = 4096, ZFileAlgorithm algorithm = ZFileAlgorithm::lz4) {
  const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 256 << 20, "", "");
  Random random(megabytes);
  for (uint64_t i = 0; i < megabytes * 4; i++) {
    const std::string bytes = some_bytes(random, 256 << 10, i % 2 == 0);
    layer->write(bytes.data(), bytes.size(), i << 19);
  }
  layer->freeze();
  CommitOptions options;
  options.zfile->block_size = block_size;
  options.zfile->algorithm = algorithm;
  commit(*layer, options, dir.file("layer"));
  return read_file(dir.file("layer"));
}

// A registry that answers at once, on the asking thread.
class Registry {
 public:
  explicit Registry(std::string content) : content(std::move(content)) {}
  FetchManager::Send send(FetchManager*& manager) {
    return [this, &manager](const FetchRequest& request) {
      std::string data = content.substr(request.offset, request.length);
      {
        const std::lock_guard lock(mutex_);
        requests.push_back(request);
        bytes += request.length;
        if (alter) alter(request, data);
      }
      answer_fetch(*manager, request.id, data);
    };
  }
  std::string content;
  std::vector<FetchRequest> requests;
  uint64_t bytes = 0;
  std::function<void(const FetchRequest&, std::string&)> alter;

 private:
  std::mutex mutex_;  // requests come from the readers and from the fetcher's own threads
};

// What one process has of the cache.
struct Process {
  Process(Registry& registry, const std::string& cache) : cache(cache), fetches(registry.send(manager)), registry(registry) {
    manager = &fetches;
  }
  std::shared_ptr<RemoteBlob> blob() const {
    return std::make_shared<RemoteBlob>("sha256:" + sha256(registry.content), registry.content.size(), "{}", cache);
  }
  std::shared_ptr<StackDevice> open(const std::shared_ptr<RemoteBlob>& remote) {
    return std::make_shared<StackDevice>(
        std::make_unique<Stack>(std::vector<std::shared_ptr<Layer>>{open_remote_layer(fetches, remote)}, nullptr));
  }
  std::string read(BlockDevice& disk, uint64_t count, uint64_t offset) {
    std::string bytes(count, 'x');
    for (int round = 0; round < 16; ++round) {
      Misses misses;
      if (disk.try_read(bytes.data(), count, offset, misses)) return bytes;
      fetches.wait_local(misses);
    }
    return "no progress";
  }
  std::string read_all(BlockDevice& disk) {
    std::string bytes;
    for (uint64_t at = 0; at < disk.size(); at += 1 << 20) bytes += read(disk, 1 << 20, at);
    return sha256(bytes);
  }
  std::string cache;
  FetchManager* manager = nullptr;
  FetchManager fetches;
  Registry& registry;
};

// The one entry of a cache.
inline std::string blob_file(const std::string& cache) { return std::filesystem::directory_iterator(cache)->path().string(); }

}  // namespace obd::test

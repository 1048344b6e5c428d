// What a served read of local blocks costs: no memory is allocated for it once its thread has read before.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>

#include "allocations.h"
#include "blob/local_blob.h"
#include "blob/tar_entry.h"
#include "block_cache_support.h"
#include "device/disk_requests.h"
#include "device/stack_device.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"
#include "zfile/zfile.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr uint64_t kDisk = 2 << 20;
constexpr const char* kUuid = "11111111-2222-4333-8444-5555555555aa";

std::shared_ptr<Layer> sealed_layer(const TempDir& dir, const std::string& name, ZFileAlgorithm algorithm, uint64_t offset) {
  const auto layer = WritableLayer::create(dir.file(name + ".data"), dir.file(name + ".index"), kDisk, kUuid, "");
  Stack stack({}, layer);
  Random random(offset + 1);
  const std::string bytes = some_bytes(random, kDisk / 2, true);
  stack.write(bytes.data(), bytes.size(), offset);
  layer->freeze();
  CommitOptions options;
  options.zfile->algorithm = algorithm;
  options.uuid = kUuid;
  commit(*layer, options, dir.file(name));
  return SealedLayer::open(std::make_shared<LocalBlob>(dir.file(name)));
}

struct Ignored {
  void operator()(const void*, int) const {}
};

// A disk of one remote layer that the block cache has all of, decompressed as well.
struct CachedDisk {
  CachedDisk() { process.read_all(*disk); }
  std::string cache_file() const { return blob_file(process.cache); }

  TempDir dir;
  Registry registry{sealed_layer(dir, 8)};
  Process process{registry, dir.file("cache")};
  const std::shared_ptr<RemoteBlob> blob = process.blob();
  const std::shared_ptr<StackDevice> disk = process.open(blob);
  DiskRequests requests{disk, process.fetches, [](const DeviceFault&) {}};
};

// Whether all of the disk is in memory, read in pieces of `size` bytes.
bool read_all(DiskRequests& requests, std::string& buffer, size_t size) {
  for (uint64_t at = 0; at < requests.disk().size(); at += buffer.size()) {
    if (requests.read(buffer.data(), size, at, Ignored()) != 0) return false;
  }
  return true;
}

void check_reads_allocate_nothing(DiskRequests& requests) {
  std::string buffer(128 << 10, 'x');
  const auto read_sizes = [&] {
    bool read = true;
    for (const size_t size : {size_t{512}, size_t{4096}, buffer.size()}) read &= read_all(requests, buffer, size);
    return read;
  };
  REQUIRE(read_sizes());
  const size_t before = allocations_so_far();
  CHECK(read_sizes());
  CHECK(allocations_so_far() == before);
  const std::unique_ptr<char[]> one(new char[100]);
  CHECK(allocations_so_far() > before);  // the count works
}

}  // namespace

TEST_CASE("reads of local blocks allocate nothing") {
  for (const ZFileAlgorithm algorithm : {ZFileAlgorithm::lz4, ZFileAlgorithm::zstd}) {
    TempDir dir;
    const auto top = WritableLayer::create(dir.file("top.data"), dir.file("top.index"), kDisk, kUuid, "");
    std::vector<std::shared_ptr<Layer>> lowers{sealed_layer(dir, "0", algorithm, 0), sealed_layer(dir, "1", algorithm, kDisk / 4)};
    const auto disk = std::make_shared<StackDevice>(std::make_unique<Stack>(std::move(lowers), top));
    for (uint64_t at = 0; at < kDisk; at += 64 << 10) disk->write(std::string(4096, 'w').data(), 4096, at);
    FetchManager no_fetches([](const FetchRequest&) {});
    DiskRequests requests(disk, no_fetches, [](const DeviceFault&) {});
    check_reads_allocate_nothing(requests);
  }
}

TEST_CASE("reads of what the block cache has allocate nothing") {
  CachedDisk cached;
  check_reads_allocate_nothing(cached.requests);
  cached.blob->cache().plain()->forget();
  check_reads_allocate_nothing(cached.requests);
}

TEST_CASE("reads that wait for the disk say so, and allocate nothing") {
  for (const bool cached : {false, true}) {
    CAPTURE(cached);
    TempDir dir;
    Registry registry(sealed_layer(dir, 8));
    Process process(registry, dir.file("cache"));
    std::shared_ptr<StackDevice> disk;
    std::string file = dir.file("layer");
    if (cached) {
      disk = process.open(process.blob());
      process.read_all(*disk);
      file = blob_file(process.cache);
    } else {
      disk = std::make_shared<StackDevice>(std::make_unique<Stack>(open_layers({file}), nullptr));
    }
    DiskRequests requests(disk, process.fetches, [](const DeviceFault&) {});
    constexpr size_t kSize = 4096;
    constexpr uint64_t kAt = 1 << 20;
    std::string buffer(kSize, 'x');
    const auto read = [&] { return requests.read(buffer.data(), kSize, kAt, Ignored()); };
    // What the data is, however it was read.
    const auto later = [&](const void* data, int error) {
      if (error == 0) std::memcpy(buffer.data(), data, kSize);
    };
    requests.read_waiting(kSize, kAt, nullptr, later);
    const std::string expected = buffer;
    if (!leave_memory(file)) return;
    // Asking has the kernel read it, which may be quicker than the answer.
    const auto read_from_disk = [&] {
      for (int round = 0; round < 20; ++round) {
        leave_memory(file);
        const size_t before = allocations_so_far();
        if (read() != DiskRequests::kOnDisk) continue;
        requests.read_waiting(kSize, kAt, nullptr, later);
        return allocations_so_far() - before;
      }
      throw std::runtime_error("no read says that it has to wait");
    };
    read_from_disk();
    buffer.assign(kSize, 'x');
    CHECK(read_from_disk() == 0);
    CHECK(buffer == expected);
    CHECK(read() == 0);
  }
}

TEST_CASE("what is decompressed on the disk only, but compressed in memory, is not waited for") {
  CachedDisk cached;
  constexpr size_t kSize = 4096;
  std::string buffer(kSize, 'x');
  const auto read = [&](uint64_t at) {
    const int result = cached.requests.read(buffer.data(), kSize, at, Ignored());
    return result == 0 ? buffer : "result " + std::to_string(result);
  };
  std::shared_ptr<ZFile> zfile;
  Misses none;
  std::shared_ptr<Blob> payload;
  REQUIRE(try_unwrap_tar(std::make_shared<LocalBlob>(cached.dir.file("layer")), payload, none));
  REQUIRE(ZFile::try_open(payload, zfile, none));
  // The decompressed bytes are the last that the file has.
  const std::string file = cached.cache_file();
  const uint64_t plain = (std::filesystem::file_size(file) - zfile->size()) / 4096 * 4096;
  for (uint64_t at = 0; at < 8 << 20; at += 64 << 10) {
    const std::string expected = read(at);
    REQUIRE(expected.size() == kSize);
    if (!leave_memory(file, plain)) return;
    REQUIRE(read(at) == expected);
  }
}

// What a served read of local blocks costs: no memory is allocated for it once its thread has read before.
#include <doctest/doctest.h>

#include "blob/local_blob.h"
#include "device/disk_requests.h"
#include "device/stack_device.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"

using namespace obd;
using namespace obd::test;

// Of the sanitizer's run-time; GCC has it without its header.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, size_t),
                                                         void (*free_hook)(const volatile void*));

namespace {

thread_local size_t allocations = 0;  // of this thread, since the hook is there

void count_allocation(const volatile void*, size_t) { ++allocations; }

size_t allocations_so_far() {
  static const int hooked = __sanitizer_install_malloc_and_free_hooks(count_allocation, [](const volatile void*) {});
  REQUIRE(hooked != 0);
  return allocations;
}

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

}  // namespace

TEST_CASE("reads of local blocks allocate nothing") {
  for (const ZFileAlgorithm algorithm : {ZFileAlgorithm::lz4, ZFileAlgorithm::zstd}) {
    TempDir dir;
    const auto top = WritableLayer::create(dir.file("top.data"), dir.file("top.index"), kDisk, kUuid, "");
    std::vector<std::shared_ptr<Layer>> lowers{sealed_layer(dir, "0", algorithm, 0), sealed_layer(dir, "1", algorithm, kDisk / 4)};
    const auto disk = std::make_shared<StackDevice>(std::make_unique<Stack>(std::move(lowers), top));
    for (uint64_t at = 0; at < kDisk; at += 64 << 10) disk->write(std::string(4096, 'w').data(), 4096, at);
    FetchManager no_fetches([](const FetchRequest&) {});
    WorkerThreads no_helpers(0, "");
    DiskRequests requests(disk, no_fetches, no_helpers, [](const DeviceFault&) {});
    std::string buffer(128 << 10, 'x');
    const auto read_all = [&] {
      for (const size_t size : {size_t{512}, size_t{4096}, buffer.size()}) {
        for (uint64_t at = 0; at < kDisk; at += buffer.size()) {
          if (requests.read(buffer.data(), size, at, [](const void*, int) {}) != 0) return false;
        }
      }
      return true;
    };
    REQUIRE(read_all());
    const size_t before = allocations_so_far();
    CHECK(read_all());
    CHECK(allocations_so_far() == before);
    const std::unique_ptr<char[]> one(new char[100]);
    CHECK(allocations_so_far() > before);  // the count works
  }
}

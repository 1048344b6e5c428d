// The block cache as several builds on a host share it: what is in it is right, whoever died while writing.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "blob/cache_limit.h"
#include "blob/local_blob.h"
#include "block_cache_support.h"
#include "system/unique_fd.h"
#include "zfile/stored_blocks.h"

using namespace obd;
using namespace obd::test;

namespace {

std::string disk_of(const TempDir& dir) {
  Stack stack(open_layers({dir.file("layer")}), nullptr);
  return disk_sha256(stack);
}

}  // namespace

TEST_CASE("opening a layer in a registry takes two requests and little more than its index") {
  for (const uint32_t block_size : {4096u, 16384u, 32768u}) {
    TempDir dir;
    Registry registry(sealed_layer(dir, 24, block_size));
    Process process(registry, dir.file("cache"));
    const auto blob = process.blob();
    const auto layer = open_remote_layer(process.fetches, blob);
    const uint64_t index = layer->zfile()->header().block_count * 4 + layer->records() * 16;
    CHECK(registry.requests.size() <= 2);
    CHECK(registry.bytes <= index + 8192);
    // Whoever opens it next asks nobody.
    Process next(registry, dir.file("cache"));
    CHECK(open_remote_layer(next.fetches, next.blob())->index()->size() == layer->index()->size());
    CHECK(registry.requests.size() <= 2);
  }
}

TEST_CASE("extents are whole blocks, which are checked before they are stored") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  const std::string expected = disk_of(dir);
  Process process(registry, dir.file("cache"));
  const auto blob = process.blob();
  const auto disk = process.open(blob);
  const ExtentLayout& layout = blob->layout();
  for (uint64_t extent = 0; extent < layout.count(); ++extent) {
    CHECK(layout.at(layout.start(extent)) == extent);
    CHECK(layout.at(layout.start(extent + 1) - 1) == extent);
    std::string bytes = registry.content.substr(layout.start(extent), layout.length(extent));
    CHECK(blob->check(extent, bytes.data()) == "");
    if (extent == 0 || extent + 3 > layout.count()) continue;  // head and tail have bytes without a checksum
    for (const size_t at : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      bytes[at] = static_cast<char>(bytes[at] ^ 4);
      CHECK(blob->check(extent, bytes.data()) != "");
      bytes[at] = static_cast<char>(bytes[at] ^ 4);
    }
  }
  // Damage on the way is fetched again, marked so.
  registry.alter = [](const FetchRequest& request, std::string& data) {
    if (!request.again) data[data.size() / 2] = static_cast<char>(data[data.size() / 2] ^ 1);
  };
  CHECK(process.read_all(*disk) == expected);
}

TEST_CASE("blobs of every size and block size are cut without a gap, and never into more extents than there is room for") {
  Random random(3);
  for (const uint32_t block_size : {512u, 4096u, 16384u, 65536u}) {
    for (const uint64_t count : {uint64_t{1}, uint64_t{2}, uint64_t{40}, uint64_t{3000}}) {
      const auto table = std::make_shared<JumpTable>(512, block_size);
      for (uint64_t i = 0; i < count; ++i) table->append(static_cast<uint32_t>(5 + random.below(block_size + 200)));
      ZFileHeader header;
      header.block_size = block_size;
      header.original_size = count * block_size - random.below(block_size);
      const StoredBlocks blocks(header, table, 1536);
      const uint64_t size = 1536 + table->offset(count) + random.below(200000);
      const ExtentLayout layout(size, &blocks);
      uint64_t plain_end = 0;
      CHECK(layout.count() <= ExtentLayout::max_count(size));
      CHECK(layout.start(0) == 0);
      CHECK(layout.start(layout.count()) == size);
      for (uint64_t extent = 0; extent < layout.count(); ++extent) {
        CHECK(layout.length(extent) > 0);
        CHECK(layout.length(extent) <= layout.longest());
        CHECK(blocks.align_down(layout.start(extent)) == layout.start(extent));
        CHECK(blocks.align_up(layout.start(extent)) == layout.start(extent));
        const BlobRange plain = blocks.plain_range({layout.start(extent), layout.start(extent + 1)});
        if (plain.begin == plain.end) continue;
        CHECK(plain.begin == plain_end);  // what the extents hold is in their order, without a gap
        plain_end = plain.end;
        const BlobRange stored = blocks.stored_range({plain.begin, plain.end});
        CHECK(layout.start(extent) <= stored.begin);
        CHECK(stored.end <= layout.start(extent + 1));
        CHECK(layout.at(blocks.stored_range({plain.end - 1, plain.end}).begin) == extent);
      }
      CHECK(plain_end == header.original_size);
      CHECK(layout.longest() <= std::max<uint64_t>(kExtentSize, block_size + 205));
    }
  }
  CHECK(ExtentLayout(0, nullptr).count() == 0);
}

TEST_CASE("one damaged extent of many is fetched again alone, and keeps nobody else waiting") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  Process process(registry, dir.file("cache"));
  const auto blob = process.blob();
  process.open(blob);
  const ExtentLayout& layout = blob->layout();
  registry.requests.clear();
  registry.alter = [&](const FetchRequest& request, std::string& data) {
    const uint64_t bad = layout.start(10) + 100;
    if (!request.again && request.offset <= bad && bad < request.offset + request.length) data[bad - request.offset] ^= 1;
  };
  Misses misses;
  for (uint64_t extent = 4; extent < 20; ++extent) misses.push_back({blob.get(), extent});
  process.fetches.wait_local(misses);
  for (uint64_t extent = 4; extent < 20; ++extent) CHECK(blob->has(extent));
  std::vector<FetchRequest> again;
  for (const FetchRequest& request : registry.requests) {
    if (request.again) again.push_back(request);
  }
  REQUIRE(again.size() == 1);
  CHECK(again[0].offset == layout.start(10));
  CHECK(again[0].length == layout.length(10));
}

TEST_CASE("damage that stays is an error that says so, and nothing of it is kept") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 4));
  const std::string expected = disk_of(dir);
  Process process(registry, dir.file("cache"));
  const auto disk = process.open(process.blob());
  registry.alter = [](const FetchRequest&, std::string& data) {
    for (size_t at = 0; at < data.size(); at += 1024) data[at] ^= 1;
  };
  CHECK_THROWS_WITH_AS(process.read(*disk, 4096, 1 << 20), doctest::Contains("the registry sends damaged content: block"), FetchError);
  registry.alter = nullptr;
  std::string sum;
  for (int round = 0; sum.empty() && round < 100; ++round) {
    try {
      sum = process.read_all(*disk);
    } catch (const FetchError&) {
      // What was read ahead came damaged too, and is only now given up.
    }
  }
  CHECK(sum == expected);
}

TEST_CASE("a blob that was read whole is another one than its digest says") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 4));
  Process process(registry, dir.file("cache"));
  const auto blob = process.blob();
  registry.content[100] ^= 1;  // in the tar header, where no checksum of a block sees it
  const auto layer = open_remote_layer(process.fetches, blob);
  Misses all;
  for (uint64_t extent = 0; extent < blob->layout().count(); ++extent) all.push_back({blob.get(), extent});
  process.fetches.wait_local(all);
  CHECK_FALSE(blob->has(3));  // nobody has read any of it: perhaps it comes right the second time
  CHECK_THROWS_WITH_AS(process.fetches.wait_local(all), doctest::Contains("the registry has other content under this digest"), FetchError);
  char byte;
  Misses misses;
  CHECK_THROWS_AS(layer->data()->try_read(&byte, 1, 5000, misses), FormatError);
  CHECK_FALSE(blob->has(3));
  for (uint64_t at = 0; at < layer->zfile()->size(); at += 4096) CHECK_FALSE(blob->cache().plain()->read(&byte, 1, at));
}

TEST_CASE("two processes fetch an extent once, and one that hangs or died does not keep the other") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 4)), other_registry(registry.content);
  Process one(registry, dir.file("cache")), other(other_registry, dir.file("cache"));
  const auto blob = one.blob(), same = other.blob();
  const auto disk = one.open(blob), same_disk = other.open(same);
  CHECK(other_registry.requests.empty());
  const auto asked = [&](uint64_t extent) {
    size_t requests = 0;
    for (const FetchRequest& request : other_registry.requests) {
      const uint64_t at = same->layout().start(extent);
      if (request.offset <= at && at < request.offset + request.length) requests++;
    }
    return requests;
  };
  // `one` fetches extent 5, and is slow.
  REQUIRE(blob->cache().try_lock(5));
  std::thread answer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    blob->store(5, registry.content.data() + blob->layout().start(5));
    blob->cache().unlock(5);
  });
  other.fetches.wait_local({{same.get(), 5}});
  answer.join();
  CHECK(same->has(5));
  CHECK(asked(5) == 0);
  // It has died over this one: its lock is gone.
  REQUIRE(blob->cache().try_lock(17));
  std::thread death([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    blob->cache().unlock(17);
  });
  other.fetches.wait_local({{same.get(), 17}});
  death.join();
  CHECK(asked(17) == 1);
  // It hangs.
  REQUIRE(blob->cache().try_lock(29));
  other.fetches.wait_local({{same.get(), 29}});
  CHECK(asked(29) == 1);
}

TEST_CASE("what a disk's reads touched can be fetched before it is read") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  std::vector<TracedRun> trace;
  std::string bytes;
  {
    Process first(registry, dir.file("cache"));
    const auto disk = first.open(first.blob());
    disk->take_trace();
    bytes = first.read(*disk, 300 << 10, 5 << 19) + first.read(*disk, 4096, 1 << 19);
    trace = disk->take_trace();
    CHECK(disk->take_trace().empty());
  }
  REQUIRE(!trace.empty());
  std::filesystem::remove_all(dir.file("cache"));
  registry.requests.clear();
  Process second(registry, dir.file("cache"));
  const auto blob = second.blob();
  const auto disk = second.open(blob);
  for (const TracedRun& run : trace) {
    CHECK(run.digest == blob->name());
    second.fetches.prefetch(*blob, run.first, run.count);
  }
  for (const TracedRun& run : trace) {
    for (uint64_t extent = run.first; extent < run.first + run.count; ++extent) {
      while (!blob->has(extent)) std::this_thread::yield();
    }
  }
  const size_t requests = registry.requests.size();
  CHECK(second.read(*disk, 300 << 10, 5 << 19) + second.read(*disk, 4096, 1 << 19) == bytes);
  CHECK(registry.requests.size() == requests);
}

TEST_CASE("what was fetched is kept decompressed: who reads it again needs nothing else of the cache, and is traced as before") {
  for (const auto& [block_size, algorithm] : {std::pair{4096u, ZFileAlgorithm::lz4}, {16384u, ZFileAlgorithm::zstd}, {32768u, ZFileAlgorithm::lz4}}) {
    TempDir dir;
    Registry registry(sealed_layer(dir, 8, block_size, algorithm));
    const std::string expected = disk_of(dir);
    std::vector<TracedRun> first_trace;
    {
      Process first(registry, dir.file("cache"));
      const auto disk = first.open(first.blob());
      disk->take_trace();
      CHECK(first.read_all(*disk) == expected);
      first_trace = disk->take_trace();
    }  // what its threads had still to keep is kept
    registry.requests.clear();
    Process second(registry, dir.file("cache"));
    const auto blob = second.blob();
    const auto disk = second.open(blob);
    disk->take_trace();
    for (uint64_t extent = 0; extent < blob->layout().count(); ++extent) blob->cache().forget(extent);
    CHECK(second.read_all(*disk) == expected);
    CHECK(registry.requests.empty());
    std::map<std::string, uint64_t> extents, first_extents;
    for (const TracedRun& run : disk->take_trace()) extents[run.digest] += run.count;
    for (const TracedRun& run : first_trace) first_extents[run.digest] += run.count;
    CHECK(extents == first_extents);
  }
}

TEST_CASE("what is kept decompressed may be damaged or missing: the compressed blocks are there") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  const std::string expected = disk_of(dir), cache = dir.file("cache");
  {
    Process first(registry, cache);
    CHECK(first.read_all(*first.open(first.blob())) == expected);
  }
  registry.requests.clear();
  Process second(registry, cache);
  const auto blob = second.blob();
  const auto disk = second.open(blob);
  Random random(11);
  for (int round = 0; round < 40; ++round) {
    const std::string rubbish = some_bytes(random, 1 + random.below(9000), false);
    // The last third of the file has what is decompressed.
    const UniqueFd fd(::open(blob_file(cache).c_str(), O_RDWR));
    const auto size = static_cast<uint64_t>(::lseek(fd.get(), 0, SEEK_END));
    const uint64_t at = size - 1 - random.below(size / 3);
    REQUIRE(::pwrite(fd.get(), rubbish.data(), std::min<uint64_t>(rubbish.size(), size - at), static_cast<off_t>(at)) > 0);
  }
  CHECK(second.read_all(*disk) == expected);
  CHECK(registry.requests.empty());
}

TEST_CASE("what became much smaller is not kept decompressed") {
  TempDir dir;
  const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 256 << 20, "", "");
  const std::string text(4 << 20, 't');
  layer->write(text.data(), text.size(), 0);
  layer->freeze();
  commit(*layer, {}, dir.file("layer"));
  Registry registry(read_file(dir.file("layer")));
  const std::string expected = disk_of(dir), cache = dir.file("cache");
  for (int round = 0; round < 2; ++round) {
    Process process(registry, cache);
    CHECK(process.read_all(*process.open(process.blob())) == expected);
  }
  struct stat st;
  REQUIRE(::stat(blob_file(cache).c_str(), &st) == 0);
  CHECK(st.st_blocks * 512 < 1 << 20);
}

TEST_CASE("a thread that must not wait for the disk is told so by the cache") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  const std::string expected = disk_of(dir), cache = dir.file("cache");
  Process process(registry, cache);
  const auto blob = process.blob();
  const auto disk = process.open(blob);
  CHECK(process.read_all(*disk) == expected);
  const auto is_read = [&] {
    char buf[4096];
    Misses misses;
    const OnlyCached here;
    const bool read = disk->try_read(buf, sizeof buf, 1 << 20, misses);
    CHECK(misses.empty() == read);
    for (const Miss& miss : misses) CHECK(miss.is_on_disk());
    return read;
  };
  CHECK(is_read());
  // Asking has the kernel read it, which may be quicker than the answer.
  bool told = false;
  for (int round = 0; round < 20 && !told; ++round) {
    if (!leave_memory(blob_file(cache))) return;
    told = !is_read();
  }
  CHECK(told);
  CHECK(process.read_all(*disk) == expected);
}

TEST_CASE("the cache stays under its limit, and what is in use stays in it") {
  TempDir dir;
  const std::string cache = dir.file("cache");
  const std::string content(300 << 10, 'c');
  const auto fill = [&](const std::string& digest) {
    auto file = std::make_unique<CacheFile>(cache, digest, content.size());
    for (uint64_t extent = 0; extent < file->layout().count(); ++extent) file->store(extent, content.data());
    return file;
  };
  const auto there = [&](const std::string& name) { return std::filesystem::exists(cache + "/sha256-" + name); };
  fill("sha256:a");
  const auto used = fill("sha256:b");
  fill("sha256:c");
  fill("sha256:d");
  for (const char* name : {"d", "c", "b", "a"}) {
    // The times of one test are too close to each other.
    const timespec times[2] = {{0, UTIME_OMIT}, {name[0], 0}};
    REQUIRE(::utimensat(AT_FDCWD, (cache + "/sha256-" + name).c_str(), times, 0) == 0);
  }
  CHECK(trim_cache(cache, 10 << 20) == 0);
  CHECK(trim_cache(cache, 800 << 10) > 0);
  CHECK_FALSE(there("a"));
  CHECK(there("b"));
  CHECK_FALSE(there("c"));
  CHECK(there("d"));
  trim_cache(cache, 0);
  CHECK(there("b"));
  CHECK_FALSE(there("d"));
  CHECK(used->has(2));
  trim_cache(dir.file("missing"), 0);
}

TEST_CASE("the cache survives kill -9 at any moment of a write, 200 times") {
  TempDir dir;
  Registry registry(sealed_layer(dir, 8));
  const std::string expected = disk_of(dir);
  const std::string cache = dir.file("cache");
  const auto blob_in = [&] {
    return std::make_shared<RemoteBlob>("sha256:" + sha256(registry.content), registry.content.size(), "{}", cache);
  };
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // Without threads, which a fork does not take along.
      const auto blob = blob_in();
      CacheFile& file = blob->cache();
      const auto layer = SealedLayer::open(std::make_shared<LocalBlob>(dir.file("layer")));
      blob->set_blocks(std::make_unique<StoredBlocks>(layer->zfile()->header(), layer->zfile()->jump_table(), 1536));
      Random own(static_cast<uint64_t>(round));
      for (;;) {
        const uint64_t extent = own.below(file.layout().count());
        file.store(extent, registry.content.data() + file.layout().start(extent));
        if (own.below(2) == 0) blob->keep_plain(extent, extent + 1, registry.content.data() + file.layout().start(extent));
        if (own.below(4) == 0) file.forget(own.below(file.layout().count()));
        if (own.below(16) == 0) file.keep_opening_pieces({{registry.content.size() - 8192, registry.content.substr(registry.content.size() - 8192)}});
      }
    }
    ::usleep(static_cast<useconds_t>(random.below(4000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  Process process(registry, cache);
  const auto disk = process.open(blob_in());
  CHECK(process.read_all(*disk) == expected);
  CHECK(process.fetches.fetched().begin()->second < registry.content.size() + (64 << 10));
}

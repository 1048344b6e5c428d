// Which files the bytes of layers belong to: every byte is some part's, and it is the right one's.
#include "ext4/explain_reads.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "blob/local_blob.h"
#include "error.h"
#include "gzip_support.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"
#include "lsmt/turbo_layer.h"

using namespace obd;
using namespace obd::ext4;
using namespace obd::test;

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDisk = 24 << 20;
constexpr size_t kBig = 3 << 20;

// An ext4 with some files, made by mke2fs.
std::string make_disk(const TempDir& dir, const std::string& options) {
  Random random(5);
  const fs::path tree = dir.file("tree"), image = dir.file("image");
  fs::create_directories(tree / "lib" / "deep");
  write_file(tree / "lib" / "big", some_bytes(random, kBig, false));
  write_file(tree / "lib" / "deep" / "text", some_bytes(random, 300000, true));
  for (int i = 0; i < 200; i++) write_file(tree / "lib" / ("small" + std::to_string(i)), some_bytes(random, 1000, true));
  fs::create_symlink("big", tree / "lib" / "link");
  std::ofstream(image).close();
  fs::resize_file(image, kDisk);
  const std::string command = "PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 " + options + " -d " + tree.string() + " " + image.string() + " >/dev/null 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  return read_file(image);
}

// A layer with those 4 KiB blocks of `disk` that `wanted` says yes to.
template <typename Wanted>
std::shared_ptr<SealedLayer> layer_of(const TempDir& dir, const std::string& name, const std::string& disk, bool compressed, Wanted wanted) {
  const auto writable = WritableLayer::create(dir.file(name + ".data"), dir.file(name + ".index"), disk.size(), "", "");
  for (size_t at = 0; at < disk.size(); at += 4096) {
    if (wanted(at)) writable->write(disk.data() + at, 4096, at);
  }
  writable->freeze();
  CommitOptions options;
  if (!compressed) options.zfile.reset();
  commit(*writable, options, dir.file(name));
  return SealedLayer::open(std::make_shared<LocalBlob>(dir.file(name)));
}

std::shared_ptr<SealedLayer> layer_of(const TempDir& dir, const std::string& name, const std::string& disk, bool compressed) {
  return layer_of(dir, name, disk, compressed, [&](size_t at) { return disk.find_first_not_of('\0', at) < at + 4096; });
}

FileMap map_of(const std::vector<std::shared_ptr<Layer>>& layers) {
  Stack disk(layers, nullptr);
  FileSystem files(disk.size(), [&](void* buf, size_t count, uint64_t offset) {
    Misses none;
    REQUIRE(disk.try_read(buf, count, offset, none));
  });
  return FileMap(files);
}

// The parts by path, checked to be the whole of what was fetched.
std::map<std::string, uint64_t> explain(const std::vector<Base>& bases, const std::string& name, const std::vector<BlobRange>& ranges) {
  uint64_t fetched = 0, explained = 0;
  for (const BlobRange& range : ranges) fetched += range.end - range.begin;
  std::map<std::string, uint64_t> parts;
  for (const ExplainedBlob& blob : explain_reads(bases, {{name, ranges}})) {
    CHECK(blob.digest == name);
    uint64_t last = UINT64_MAX;
    for (const auto& [path, bytes] : blob.parts) {
      CHECK(bytes <= last);
      last = bytes;
      explained += bytes;
      CHECK(parts.emplace(path, bytes).second);
    }
  }
  CHECK(explained == fetched);
  return parts;
}

std::map<std::string, uint64_t> explain(const std::vector<std::shared_ptr<Layer>>& layers, const FileMap& files, const std::string& name, const std::vector<BlobRange>& ranges) {
  return explain({{layers, files, ""}}, name, ranges);
}

}  // namespace

TEST_CASE("all of a layer is its files, its file system's metadata and its format") {
  for (const char* options : {"-O none,extent,64bit,flex_bg,metadata_csum", "-O ^metadata_csum,has_journal -J size=4", "-O none,ext_attr,filetype"}) {
    for (const bool compressed : {true, false}) {
      CAPTURE(options);
      CAPTURE(compressed);
      TempDir dir;
      const auto layer = layer_of(dir, "layer", make_disk(dir, options), compressed);
      const FileMap files = map_of({layer});
      const auto parts = explain({layer}, files, layer->name(), {{0, layer->blob()->size()}});
      // Random bytes do not compress: a block of them is stored as it is, with its checksum.
      CHECK(parts.at("/lib/big") >= kBig);
      CHECK(parts.at("/lib/big") <= kBig + kBig / 50);
      CHECK(parts.at("/lib/deep/text") > 0);
      CHECK(parts.at("/lib/small7") > 0);
      for (const char* name : {"[inode tables]", "[directories]", "[bitmaps]", "[superblock and group descriptors]", "[overlaybd headers and indexes]"}) CHECK(parts.at(name) > 0);
      CHECK(parts.count("[hidden by layers above]") == 0);
      CHECK(parts.count("/lib/link") == 0);
    }
  }
}

TEST_CASE("any ranges of a layer add up, and are the files that lie there") {
  TempDir dir;
  const auto layer = layer_of(dir, "layer", make_disk(dir, "-O none,extent"), true);
  const FileMap files = map_of({layer});
  Random random(3);
  const uint64_t size = layer->blob()->size();
  for (int i = 0; i < 300; i++) {
    std::vector<BlobRange> ranges;
    for (uint64_t n = 1 + random.below(4); n > 0; n--) {
      const uint64_t begin = random.below(size), end = begin + 1 + random.below(std::min<uint64_t>(size - begin, 200000));
      ranges.push_back({begin, end});
    }
    explain({layer}, files, layer->name(), ranges);
  }
  // Most of the layer is the big file: so is a piece of it from the middle.
  const auto middle = explain({layer}, files, layer->name(), {{size / 2, size / 2 + 1000}});
  CHECK(middle.size() == 1);
  CHECK(middle.begin()->first == "/lib/big");
}

TEST_CASE("what a layer above has replaced is named so, in the layer below and nowhere else") {
  TempDir dir;
  const std::string disk = make_disk(dir, "-O none,extent");
  const auto lower = layer_of(dir, "lower", disk, true);
  const auto upper = layer_of(dir, "upper", disk, true, [&](size_t at) { return at % 8192 == 0 && disk.find_first_not_of('\0', at) < at + 4096; });
  const std::vector<std::shared_ptr<Layer>> layers{lower, upper};
  const FileMap files = map_of(layers);
  const auto below = explain(layers, files, lower->name(), {{0, lower->blob()->size()}});
  CHECK(below.at("[hidden by layers above]") > kBig / 3);
  CHECK(below.at("/lib/big") > kBig / 3);
  CHECK(explain(layers, files, upper->name(), {{0, upper->blob()->size()}}).count("[hidden by layers above]") == 0);
  CHECK(explain(layers, files, "another", {}).empty());
}

TEST_CASE("a layer that several bases have is told by all of them, whichever comes first") {
  TempDir dir;
  const std::string disk = make_disk(dir, "-O none,extent");
  const auto shared = layer_of(dir, "shared", disk, true);
  // Of the one base every second block, of the other base the next to it.
  const auto half = [&](const std::string& name, size_t rest) {
    const auto above = layer_of(dir, name, disk, true, [&](size_t at) { return at % 8192 == rest && disk.find_first_not_of('\0', at) < at + 4096; });
    const std::vector<std::shared_ptr<Layer>> layers{shared, above};
    return Base{layers, map_of(layers), ""};
  };
  const Base even = half("even", 0), odd = half("odd", 4096);
  const Base damaged{even.layers, std::nullopt, "the disk is on fire"};
  const std::vector<BlobRange> all{{0, shared->blob()->size()}};
  const auto alone = explain({even}, shared->name(), all);
  CHECK(alone.at("[hidden by layers above]") > kBig / 3);
  for (const std::vector<Base>& bases : {std::vector<Base>{even, odd}, {odd, even}, {damaged, even, odd, even}}) {
    const auto parts = explain(bases, shared->name(), all);
    CHECK(parts.count("[hidden by layers above]") == 0);
    CHECK(parts.at("/lib/big") >= kBig);
    CHECK(parts == explain({shared}, map_of({shared}), shared->name(), all));
  }
  CHECK(explain({damaged, even}, shared->name(), all) == alone);
  CHECK(explain({damaged}, shared->name(), all).begin()->first == "[not explained: the disk is on fire]");
}

TEST_CASE("of a turboOCI layer both blobs are explained") {
  const std::string target = read_file(golden("turbo/layer1.tar.gz")), gzip_meta = read_file(golden("turbo/layer1.gzip.meta"));
  const std::string archive = gzip_of(tar_of({{"ext4.fs.meta", read_file(golden("turbo/layer1.ext4.fs.meta"))}, {"gzip.meta", gzip_meta}}));
  Misses none;
  const std::shared_ptr<SealedLayer> layer = try_open_turbo_layer(std::make_shared<MemoryBlob>(archive, "archive"), "", std::make_shared<MemoryBlob>(target, "target"), none);
  const FileMap files = map_of({layer});
  CHECK(explain({layer}, files, "archive", {{0, archive.size()}}) == std::map<std::string, uint64_t>{{"[turboOCI metadata]", archive.size()}});
  const auto parts = explain({layer}, files, "target", {{0, target.size()}});
  CHECK(parts.count("/bin/suid") + parts.count("/bin/tool") == 2);
  CHECK(parts.at("[tar headers]") > 0);
  CHECK(explain({layer}, files, "target", {{100, 5000}, {5000, 5001}, {target.size() - 3, target.size()}}).size() > 0);
}

TEST_CASE("what is no ext4, or a damaged one, is an error and never a crash") {
  TempDir dir;
  const std::string good = make_disk(dir, "-O none,extent,metadata_csum");
  const auto read = [](const std::string& disk) {
    FileSystem files(disk.size(), [&](void* buf, size_t count, uint64_t offset) { std::memcpy(buf, disk.data() + offset, count); });
    FileMap map(files);
    uint64_t last = 0;
    map.for_each(0, disk.size(), [&](uint64_t begin, uint64_t end, const std::string&) {
      REQUIRE(begin >= last);
      REQUIRE(end > begin);
      REQUIRE(end <= disk.size());
      last = end;
    });
  };
  CHECK_THROWS_AS(read(std::string(1 << 20, '\0')), FormatError);
  read(good);
  Random random(11);
  for (int i = 0; i < 60; i++) {
    std::string disk = good;
    // Mostly where the file system keeps itself.
    for (uint64_t n = 1 + random.below(30); n > 0; n--) disk[random.below(random.below(2) == 0 ? 4096 : 1 << 20)] = static_cast<char>(random());
    try {
      read(disk);
    } catch (const FormatError&) {
    }
  }
}

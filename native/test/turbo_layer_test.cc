// TurboOCI layers: the reference's reads to its recorded disk; damaged ones give an error.
#include "lsmt/turbo_layer.h"

#include <doctest/doctest.h>

#include "error.h"
#include "gzip/gzip_file.h"
#include "gzip_support.h"
#include "layer_support.h"
#include "lsmt/stack.h"

using namespace obd;
using namespace obd::test;

namespace {

const char* const kDisk = "ac6e98d261b67afad19ea6125f124f9b9ccb6f259df5afdebe8e153979c12519";

std::string fs_meta() { return read_file(golden("turbo/layer1.ext4.fs.meta")); }
std::string gzip_meta() { return read_file(golden("turbo/layer1.gzip.meta")); }
std::string target() { return read_file(golden("turbo/layer1.tar.gz")); }
std::string archive() { return gzip_of(tar_of({{"ext4.fs.meta", fs_meta()}, {".turbo.ociv1", ""}, {"gzip.meta", gzip_meta()}})); }

std::shared_ptr<SealedLayer> open(const std::string& archive, const std::string& target, const std::string& digest = "") {
  Misses none;
  return try_open_turbo_layer(std::make_shared<MemoryBlob>(archive, "archive"), digest, std::make_shared<MemoryBlob>(target, "target"), none);
}

std::string disk_of(std::shared_ptr<Layer> layer) {
  Stack stack({std::move(layer)}, nullptr);
  return disk_sha256(stack);
}

// The error of opening it and reading its disk.
std::string problem(const std::string& archive, const std::string& target, const std::string& digest = "") {
  try {
    disk_of(open(archive, target, digest));
    return "";
  } catch (const FormatError& e) {
    return e.what();
  }
}

std::string gunzipped(const std::string& gzip, const std::string& index) {
  GzipFile file(std::make_shared<MemoryBlob>(gzip), GzipIndex(index, "index"));
  std::string plain(file.size(), '\0');
  Misses none;
  file.try_read(plain.data(), plain.size(), 0, none);
  return plain;
}

}  // namespace

TEST_CASE("the reference's turboOCI layer reads to the recorded disk") {
  CHECK(disk_of(open(archive(), target())) == kDisk);
  CHECK(disk_of(open(tar_of({{"ext4.fs.meta", fs_meta()}, {"gzip.meta", gzip_meta()}}), target())) == kDisk);
}

TEST_CASE("an ordinary layer that is no gzip is read as the tar it is, and any gzip of it will do") {
  const std::string tar = gunzipped(target(), gzip_meta());
  CHECK(disk_of(open(gzip_of(tar_of({{"ext4.fs.meta", fs_meta()}})), tar)) == kDisk);
  for (const size_t span : {size_t{16} << 10, size_t{1} << 20}) {
    const std::string gzip = gzip_of(tar, 9), index = gzip_index_of(gzip, span);
    CHECK(disk_of(open(gzip_of(tar_of({{"ext4.fs.meta", fs_meta()}, {"gzip.meta", index}})), gzip)) == kDisk);
  }
}

TEST_CASE("a remote turboOCI layer opens with its archive alone; file contents come when they are read") {
  const auto meta = std::make_shared<MissingBlob>(archive(), 4096);
  const auto tar = std::make_shared<MissingBlob>(target(), 4096);
  std::shared_ptr<SealedLayer> layer;
  for (int round = 0; !layer; round++) {
    REQUIRE(round < 3);
    Misses misses;
    layer = try_open_turbo_layer(meta, "", tar, misses);
    meta->fetch(misses);
  }
  CHECK(tar->fetched() == 0);
  Stack stack({layer}, nullptr);
  std::string superblock(4096, '\0');
  Misses misses;
  CHECK(stack.try_read(superblock.data(), superblock.size(), 0, misses));
  CHECK(misses.empty());
}

TEST_CASE("an archive that is not what its digest says is fetched again, and refused if it stays that way") {
  const std::string digest = "sha256:" + sha256(archive());
  CHECK(disk_of(open(archive(), target(), digest)) == kDisk);
  CHECK(problem(archive() + "x", target(), digest).find("the content has digest sha256:") != std::string::npos);
}

TEST_CASE("what is no turboOCI layer is refused with a reason") {
  CHECK(problem(gzip_of(tar_of({{"file", "x"}})), target()).find("no ext4.fs.meta") != std::string::npos);
  CHECK(problem(gzip_of(tar_of({{"erofs.fs.meta", "x"}})), target()).find("EROFS") != std::string::npos);
  CHECK(problem(archive().substr(0, 3000), target()).find("turboOCI: ") != std::string::npos);
  CHECK(problem("", target()) != "");
  CHECK(problem(tar_of({{"ext4.fs.meta", "no layer"}, {"gzip.meta", gzip_meta()}}), target()).find("not an overlaybd layer") != std::string::npos);
  CHECK(problem(tar_of({{"ext4.fs.meta", fs_meta()}}), target()).find("no gzip.meta to read it with") != std::string::npos);
  CHECK(problem(archive(), target() + "x").find("its index is for one of") != std::string::npos);
  const std::string tar = gunzipped(target(), gzip_meta());
  CHECK(problem(tar_of({{"ext4.fs.meta", fs_meta()}}), tar.substr(0, 100000)).find("points outside target") != std::string::npos);
}

TEST_CASE("archives with random damage give the right disk or an error") {
  Random random(9);
  const std::string good = tar_of({{"ext4.fs.meta", fs_meta()}, {"gzip.meta", gzip_meta()}}), tar = target();
  for (int i = 0; i < 200; i++) {
    std::string damaged = good;
    for (uint64_t n = 1 + random.below(3); n > 0; n--) damaged[random.below(damaged.size())] = static_cast<char>(random());
    try {
      const auto layer = open(damaged, tar);
      std::string bytes(64 << 10, '\0');
      Stack stack({layer}, nullptr);
      Misses none;
      for (uint64_t at = 0; at < std::min<uint64_t>(stack.size(), 4 << 20); at += bytes.size()) {
        if (stack.size() - at >= bytes.size()) stack.try_read(bytes.data(), bytes.size(), at, none);
      }
    } catch (const FormatError&) {
    }
  }
}

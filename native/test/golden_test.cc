// The reference tools' files: every one is read to the recorded digest, and every one that the input
// determines is written again byte for byte.
#include <doctest/doctest.h>

#include <cstdio>

#include "blob/local_blob.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/flatten.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"
#include "zfile/payload.h"

using namespace obd;
using namespace obd::test;

namespace {

const char* const kStack1 = "4e44ce045feda452eaa67255e29a6589c1a9b81ad2fda21afdbe52318fcce51a";
const char* const kStack2 = "3e754cff6e43218d844afcf00dc94730679c643942e8c1f421c947aa0c932bd9";
const char* const kStack3 = "c1b3a392f9691009838f5c4f0103c252db6c6c8d72daaded810a093b2bf3733a";
const char* const kPattern = "3252fa08e94ba72f1cca4c5789daa02b85b1cd93c5933819266751afe0585697";
const char* const kPatternOnBase = "f56ec49ab9e9ebe0a78cd6930289133522dd47255d8e898e7d0388e619eaa1f1";
const char* const kRw = "cd39e864ae91fd4d22808e41180479e4d7e2bf0ecdcbf12f22cb177d561c1588";
const char* const kRwCommitted = "eb2f48786477f9d44d75f6f87790741949d349d4851c7d7b549cc0bc70e20b78";
const std::string kUuid = "11111111-2222-4333-8444-5555555555";

const std::string kBase = "layers/base.lz4.tar", kEmpty = "layers/empty.lz4.tar", kLayer2 = "layers/layer2.lz4.tar",
                  kLayer3 = "layers/layer3.lz4.tar";

std::string disk_of(const std::vector<std::string>& names) {
  std::vector<std::string> paths;
  for (const auto& name : names) paths.push_back(golden(name));
  Stack stack(open_layers(paths), nullptr);
  return disk_sha256(stack);
}

CommitOptions plain() {
  CommitOptions o;
  o.zfile.reset();
  o.tar = false;
  return o;
}

}  // namespace

TEST_CASE("sealed layers read to the recorded disks") {
  CHECK(disk_of({kBase}) == kStack1);
  CHECK(disk_of({"layers/base.zstd-4k.zfile"}) == kStack1);
  CHECK(disk_of({"layers/base.lz4-64k.zfile"}) == kStack1);  // the reference itself fails on this one
  CHECK(disk_of({kBase, kEmpty}) == kStack1);
  CHECK(disk_of({kBase, kLayer2}) == kStack2);
  CHECK(disk_of({kBase, kEmpty, kLayer2}) == kStack2);
  CHECK(disk_of({kBase, kLayer2, kLayer3}) == kStack3);
  CHECK(disk_of({"rw/rw-append.sealed"}) == kRw);
}

TEST_CASE("writable layers read to the recorded disks") {
  TempDir dir;
  for (const auto& [name, alone] : {std::pair{"pattern-append", kPattern}, {"rw-append", kRw}, {"rw-sparse", kRw}}) {
    CAPTURE(name);
    Stack stack({golden_writable(dir, name)}, nullptr);
    CHECK(disk_sha256(stack) == alone);
  }
}

TEST_CASE("a smaller layer on top cuts the disk off, as a lower or as the writable top") {
  TempDir dir;
  auto layers = open_layers({golden(kBase)});
  layers.push_back(golden_writable(dir, "pattern-append"));
  Stack lowers(layers, nullptr);
  CHECK(lowers.size() == 64 << 20);
  CHECK(disk_sha256(lowers) == kPatternOnBase);
  Stack with_top(open_layers({golden(kBase)}),
                 WritableLayer::open(dir.file("pattern-append.data"), dir.file("pattern-append.index")));
  CHECK(disk_sha256(with_top) == kPatternOnBase);
}

TEST_CASE("committed writable layers equal those of overlaybd-commit") {
  TempDir dir;
  const std::string out = dir.file("out");
  CommitOptions zfile = plain();
  for (unsigned threads : {1u, 3u}) {
    zfile.zfile = ZFileOptions{};
    zfile.zfile->threads = threads;
    commit(*golden_writable(dir, "pattern-append"), zfile, out);
    CHECK(sha256_file(out) == "46756c42cc30adfbc16d19e4ee85e7433be3c62ced08db0ea98ee3f87cdae090");
  }
  CHECK(commit(*golden_writable(dir, "rw-append"), plain(), out).digest == std::string("sha256:") + kRwCommitted);
  CHECK(commit(*golden_writable(dir, "rw-sparse"), plain(), out).digest == std::string("sha256:") + kRwCommitted);
  CHECK(commit(*open_layers({golden("rw/rw-append.sealed")})[0], plain(), out).digest == std::string("sha256:") + kRwCommitted);
  CHECK(sha256_file(out) == kRwCommitted);
}

TEST_CASE("committed records are cut where overlaybd-commit cuts them") {
  // FORMATS.md 2.3: pieces of 64 sectors, joined while shorter than 16383.
  TempDir dir;
  auto lengths = [&](const std::vector<uint64_t>& writes) {
    const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 64 << 20, "", "");
    uint64_t at = 0;
    for (const uint64_t sectors : writes) {
      layer->write(std::string(sectors * 512, 'a').data(), sectors * 512, at * 512);
      at += sectors;
    }
    layer->freeze();
    commit(*layer, plain(), dir.file("out"));
    std::vector<uint64_t> found;
    const auto committed = open_layers({dir.file("out")})[0];
    for (const Segment& s : committed->index()->segments()) found.push_back(s.length);
    for (const char* name : {"d", "i"}) std::remove(dir.file(name).c_str());
    return found;
  };
  CHECK(lengths({20000}) == std::vector<uint64_t>{16320, 3680});
  CHECK(lengths({16320, 62}) == std::vector<uint64_t>{16382});
  CHECK(lengths({16320, 63}) == std::vector<uint64_t>{16320, 63});
}

TEST_CASE("layers committed again equal those of overlaybd-commit -z -t") {
  TempDir dir;
  const std::string out = dir.file("out");
  struct Case {
    std::string source, uuid, tag, digest;
    bool tar, zstd;
  };
  const std::vector<Case> cases = {
      {kBase, kUuid + "01", "", "ddfc5394da7f0f468a546669e126d06e179dee8d25f2861beec4fdcefe460e85", true, false},
      {kBase, kUuid + "01", "", "14e70ffe489febe1ff03acebc343069ffe74c44d97ee043005e84d0ff157f401", false, false},
      {kBase, "", "", "bcfe3cc22b27ee7d67ab192d0a914150191e0f7d8f80e984b3a81fb6a0c85c56", false, false},
      {kBase, kUuid + "01", "golden user tag", "62953c59dc78acf80356a642061bcfc34b278fa07c2a432393e5f53a24acb442", false, true},
      {kEmpty, kUuid + "ee", "", "aff4d4fbaac83718af6db9f347a3253fad616409a884775a4f132d865f2ecd28", true, false},
      {kLayer2, kUuid + "02", "", "477ab567374619f4824a03925909c7f27deb08b1db642bebf73419fb25162138", true, false},
      {kLayer2, kUuid + "02", "", "8e21352e88334c509c39b21dedb59cee45a6a76c78f899ad72a4c87a2aadffa2", false, false},
      {kLayer3, kUuid + "03", "", "b3ec0e6b1632d87bed98bba46f22d6ba26a8f0a03242924108afa536965f3996", true, false},
      {kLayer3, kUuid + "03", "", "590840c111378b5bac610c1d423a27a5362c86b65cfe39e5b83f8f1a95cb7e8b", false, false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.source);
    CAPTURE(c.digest);
    CommitOptions o;
    o.uuid = c.uuid;
    o.user_tag = c.tag;
    o.tar = c.tar;
    if (c.zstd) o.zfile->algorithm = ZFileAlgorithm::zstd;
    o.zfile->threads = 2;
    CHECK(commit(*open_layers({golden(c.source)})[0], o, out).digest == "sha256:" + c.digest);
  }
}

TEST_CASE("ZFiles equal those of overlaybd-zfile") {
  TempDir dir;
  write_file(dir.file("empty.bin"), "");
  write_file(dir.file("zero256k.bin"), std::string(256 << 10, '\0'));
  struct Case {
    std::string payload;
    uint32_t block_size;
    ZFileAlgorithm algorithm;
    bool tar;
    std::string digest;
  };
  const auto lz4 = ZFileAlgorithm::lz4, zstd = ZFileAlgorithm::zstd;
  const std::vector<Case> cases = {
      {"empty", 4096, lz4, false, "02b9645720d32d6b990187147d1382274a0f8b1ef267d47b386863c58034b10f"},
      {"mixed300k", 16384, lz4, false, "73be3ea3b520ecfe016b4f32773543097bd2b3b088cb0ae940cf90b8c63cd1d3"},
      {"mixed300k", 32768, lz4, false, "bab6d6d4eeb8a81403fac4e8a598e051647901f353784a8227a95336360c08b1"},
      {"mixed300k", 4096, lz4, true, "f96950a32dd6c9f35269c30a639d2762ba0997abbcf5deb59003832c9a5533a2"},
      {"mixed300k", 4096, lz4, false, "7523d54fd37dceee1bdef553b6e3bca98f37a1e32dcc9844d1893c106edfe9a2"},
      {"mixed300k", 8192, lz4, false, "272bf9f504f573f35879a9160595d38bf19bf329a01fc5b51b0bac7360b9a704"},
      {"mixed300k", 4096, zstd, false, "12afcb871584cb0607020fd8ba8ee7e44d756448e57b0c220fe47e3a32eef87d"},
      {"rand100001", 4096, lz4, false, "78824e1f979a2e1819d38eac1491ce68ef77b271887c9ea5278ba5ee949e8ff6"},
      {"rand100001", 4096, zstd, false, "f2954ad5583ffc42f674ffd0dc8125a5269dbfbeb72b423d80f37b4a45c5dd9e"},
      {"text1m", 4096, lz4, false, "1408a14769fe597f3c96e491642c3cad045318d5cfd575b00cc3aea840175008"},
      {"text1m", 4096, zstd, false, "a64176568342e998ad58f931789aba0f568b94b3a4865a4db28216f230670476"},
      {"zero256k", 4096, lz4, false, "e8dd780bfe2f2df9cac1e6c53f528c991fcca8c3e0b2817eaaa2a662c1cea589"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.payload);
    CAPTURE(c.block_size);
    const bool made = c.payload == "empty" || c.payload == "zero256k";
    const std::string from = made ? dir.file(c.payload + ".bin") : golden("payload/" + c.payload + ".bin");
    for (unsigned threads : {1u, 4u}) {
      ZFileOptions o;
      o.algorithm = c.algorithm;
      o.block_size = c.block_size;
      o.completed_header = false;
      o.threads = threads;
      const uint64_t size = compress_file(from, dir.file("out"), o, c.tar);
      CHECK(read_file(dir.file("out")).size() == size);
      CHECK(sha256_file(dir.file("out")) == c.digest);
    }
    decompress_file(dir.file("out"), dir.file("back"));
    CHECK(read_file(dir.file("back")) == read_file(from));
  }
}

TEST_CASE("ZFiles with 64 KiB blocks, which the reference cannot all read, decompress") {
  TempDir dir;
  for (const auto& [name, payload] : {std::pair{"mixed300k.lz4-64k", "mixed300k"}, {"mixed300k.zstd-64k", "mixed300k"},
                                      {"rand100001.lz4-64k", "rand100001"}, {"text1m.zstd-64k", "text1m"}}) {
    CAPTURE(name);
    decompress_file(golden(std::string("zfile/") + name + ".zfile"), dir.file("out"));
    CHECK(read_file(dir.file("out")) == read_file(golden(std::string("payload/") + payload + ".bin")));
  }
}

TEST_CASE("flatten writes the recorded disks as sparse files") {
  TempDir dir;
  std::vector<LayerFiles> layers;
  for (const auto& name : {kBase, kLayer2, kLayer3}) layers.push_back({golden(name), ""});
  for (unsigned threads : {1u, 4u}) {
    const FlattenResult r = flatten(layers, dir.file("disk"), threads);
    CHECK(r.size == 256 << 20);
    CHECK(r.written < 4 << 20);
    LocalBlob disk(dir.file("disk"));
    CHECK(sha256_file(dir.file("disk")) == kStack3);
  }
}

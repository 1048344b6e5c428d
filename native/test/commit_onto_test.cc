// Sealed layers made of a former one and of what was written on it.
#include <doctest/doctest.h>

#include "blob/local_blob.h"
#include "error.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/inspect.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr uint64_t kDisk = 8 << 20;

std::shared_ptr<WritableLayer> written(const TempDir& dir, const std::string& name, Random& random, int writes, uint64_t most) {
  auto layer = WritableLayer::create(dir.file(name + ".d"), dir.file(name + ".i"), kDisk, "", "");
  for (int i = 0; i < writes; i++) {
    const uint64_t count = kSector * (1 + random.below(most)), offset = random.below((kDisk - count) / kSector) * kSector;
    if (random.below(5) == 0) {
      layer->discard(offset, count);
    } else {
      const std::string bytes = some_bytes(random, count, random.below(2) == 0);
      layer->write(bytes.data(), bytes.size(), offset);
    }
  }
  layer->freeze();
  return layer;
}

std::shared_ptr<SealedLayer> sealed(const std::string& path) { return SealedLayer::open(std::make_shared<LocalBlob>(path)); }

std::string disk_of(const std::vector<std::shared_ptr<Layer>>& layers) {
  Stack stack(layers, nullptr);
  return disk_sha256(stack);
}

CommitOptions options_with(uint32_t block_size, const std::string& uuid) {
  CommitOptions options;
  options.zfile->block_size = block_size;
  options.zfile->threads = 2;
  options.uuid = uuid;
  return options;
}

}  // namespace

TEST_CASE("a layer committed onto a former one shows the same disk, round after round") {
  int kept = 0, anew = 0;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    CAPTURE(seed);
    TempDir dir;
    Random random(seed);
    const uint32_t block_size = seed % 3 == 0 ? 16384 : 4096;
    const std::string uuid = "01234567-89ab-cdef-0123-456789abcdef";
    commit(*written(dir, "base", random, 40, 256), options_with(4096, ""), dir.file("base"));
    const std::shared_ptr<Layer> base = sealed(dir.file("base"));
    commit(*written(dir, "0", random, 60, 300), options_with(block_size, uuid), dir.file("layer0"));
    for (int round = 1; round <= 5; round++) {
      const auto former = sealed(dir.file("layer" + std::to_string(round - 1)));
      const auto top = written(dir, std::to_string(round), random, 1 + static_cast<int>(random.below(4)), 40);
      const std::string out = dir.file("layer" + std::to_string(round));
      const CommitResult result = commit_onto(former, *top, options_with(block_size, uuid), out);
      CHECK(result.digest == "sha256:" + sha256_file(out));
      CHECK(result.size == read_file(out).size());
      CHECK(inspect_layer({out}, 1).problems == std::vector<std::string>{});
      const auto merged = sealed(out);
      CHECK(disk_of({base, merged}) == disk_of({base, former, top}));
      CHECK(merged->trailer().uuid == former->trailer().uuid);
      // Either the former data stays where it is, or there is only data in use.
      uint64_t used = 0;
      for (const Segment& s : merged->index()->segments()) used += s.zeroed ? 0 : s.length * kSector;
      const uint64_t stored = merged->trailer().index_offset - kLsmtHeaderSize;
      if (stored == used) {
        anew++;
      } else {
        kept++;
        CHECK(stored <= used + used / 10);
        CHECK(stored >= former->trailer().index_offset - kLsmtHeaderSize);
      }
    }
  }
  CHECK(kept > 0);
  CHECK(anew > 0);
}

TEST_CASE("the stored blocks of a former layer are taken over as they are, and checked") {
  TempDir dir;
  Random random(5);
  const auto first = WritableLayer::create(dir.file("d"), dir.file("i"), kDisk, "", "");
  const std::string bytes = some_bytes(random, 1 << 20, false);
  first->write(bytes.data(), bytes.size(), 0);
  first->freeze();
  commit(*first, options_with(4096, ""), dir.file("former"));
  const auto former = sealed(dir.file("former"));
  const auto top = WritableLayer::create(dir.file("d2"), dir.file("i2"), kDisk, "", "");
  top->write(bytes.data(), 4096, 8192);
  top->freeze();
  commit_onto(former, *top, options_with(4096, ""), dir.file("merged"));
  const auto merged = sealed(dir.file("merged"));
  const JumpTable &before = *former->zfile()->jump_table(), &after = *merged->zfile()->jump_table();
  const uint64_t data = bytes.size() / 4096;
  const auto stored = [&](const std::string& file, const SealedLayer& layer, uint64_t block) {
    const JumpTable& table = *layer.zfile()->jump_table();
    const uint64_t payload = static_cast<const WindowBlob&>(*layer.payload()).offset();
    return read_file(dir.file(file)).substr(payload + table.offset(block), table.offset(block + 1) - table.offset(block));
  };
  for (uint64_t block = 1; block <= data; block += 50) CHECK(stored("former", *former, block) == stored("merged", *merged, block));
  CHECK(after.blocks() == before.blocks() + 1);

  std::string damaged = read_file(dir.file("former"));
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 4);
  write_file(dir.file("damaged"), damaged);
  CHECK_THROWS_AS(commit_onto(sealed(dir.file("damaged")), *top, options_with(4096, ""), dir.file("none")), FormatError);
  CHECK_THROWS(read_file(dir.file("none")));
}

// Opening a layer of which nothing is local yet: few rounds, few bytes, and bad cached bytes are fetched again.
#include <doctest/doctest.h>

#include "error.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"

using namespace obd;
using namespace obd::test;

namespace {

// A sealed layer with 8 MiB of data that does not compress.
std::string large_layer(const TempDir& dir) {
  const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 64 << 20, "", "");
  Random random(3);
  for (int i = 0; i < 64; i++) {
    const std::string bytes = some_bytes(random, 128 << 10, false);
    layer->write(bytes.data(), bytes.size(), static_cast<uint64_t>(i) << 19);
  }
  layer->freeze();
  commit(*layer, CommitOptions{}, dir.file("layer"));
  return read_file(dir.file("layer"));
}

std::shared_ptr<SealedLayer> open_by_fetching(const std::shared_ptr<MissingBlob>& blob, int& rounds) {
  for (rounds = 0;; rounds++) {
    Misses misses;
    if (auto layer = SealedLayer::try_open(blob, misses)) return layer;
    REQUIRE(!misses.empty());
    REQUIRE(rounds < 10);
    blob->fetch(misses);
  }
}

}  // namespace

TEST_CASE("opening a remote layer reads its two ends only") {
  TempDir dir;
  const auto blob = std::make_shared<MissingBlob>(large_layer(dir), 64 << 10);
  int rounds;
  const auto layer = open_by_fetching(blob, rounds);
  CHECK(rounds <= 3);
  CHECK(blob->fetched() <= 3);
  CHECK(layer->index()->size() == 64);

  // One read reports everything it misses, and is whole once that is there.
  Stack stack({layer}, nullptr);
  std::string bytes(2 << 20, 'x');
  Misses misses;
  CHECK_FALSE(stack.try_read(bytes.data(), bytes.size(), 0, misses));
  CHECK(misses.size() >= 8);
  blob->fetch(misses);
  misses.clear();
  CHECK(stack.try_read(bytes.data(), bytes.size(), 0, misses));
  CHECK(misses.empty());
  TempDir other;
  write_file(other.file("layer"), blob->bytes());
  Stack local(open_layers({other.file("layer")}), nullptr);
  std::string expected(bytes.size(), 'y');
  local.try_read(expected.data(), expected.size(), 0, misses);
  CHECK(bytes == expected);
}

TEST_CASE("bytes that turn out damaged are distrusted and read again") {
  TempDir dir;
  const std::string good = large_layer(dir);
  const auto blob = std::make_shared<MissingBlob>(good, 64 << 10);
  int rounds;
  Stack stack({open_by_fetching(blob, rounds)}, nullptr);
  std::string bytes(65536, 'x');
  Misses misses;
  CHECK_FALSE(stack.try_read(bytes.data(), bytes.size(), 0, misses));
  blob->fetch(misses);
  blob->bytes()[20000] = static_cast<char>(blob->bytes()[20000] ^ 1);
  misses.clear();
  CHECK_FALSE(stack.try_read(bytes.data(), bytes.size(), 0, misses));
  CHECK(!misses.empty());
  blob->bytes() = good;
  blob->fetch(misses);
  misses.clear();
  CHECK(stack.try_read(bytes.data(), bytes.size(), 0, misses));

  // A damaged index is noticed while opening.
  const auto damaged = std::make_shared<MissingBlob>(good, 64 << 10);
  damaged->bytes()[good.size() - 2000] = static_cast<char>(damaged->bytes()[good.size() - 2000] ^ 1);
  for (int i = 0; i < 8; i++) {
    misses.clear();
    REQUIRE_FALSE(bool(SealedLayer::try_open(damaged, misses)));
    damaged->fetch(misses);
  }
  damaged->bytes() = good;
  misses.clear();
  CHECK(bool(open_by_fetching(damaged, rounds)));
}

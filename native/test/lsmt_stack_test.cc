// The stack as a disk, against bytes in memory: random writes and discards, live seals, reopening after a
// kill, commits, readers and writers at the same time.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "blob/local_blob.h"
#include "error.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr uint64_t kDisk = 2 << 20;

std::shared_ptr<WritableLayer> new_layer(const TempDir& dir, const std::string& name, uint64_t size = kDisk) {
  return WritableLayer::create(dir.file(name + ".data"), dir.file(name + ".index"), size,
                               "11111111-2222-4333-8444-5555555555aa", "");
}

std::shared_ptr<SealedLayer> open_sealed(const std::string& path) {
  return SealedLayer::open(std::make_shared<LocalBlob>(path));
}

std::string read_all(BlockDevice& disk) {
  std::string bytes(disk.size(), 'x');
  Misses misses;
  REQUIRE(disk.try_read(bytes.data(), bytes.size(), 0, misses));
  return bytes;
}

// One random write or discard, done to the disk and to its model.
void change(Random& random, BlockDevice& disk, std::string& model) {
  const uint64_t unit = random.below(3) == 0 ? 512 : 4096;
  const uint64_t offset = random.below(kDisk / unit) * unit;
  const uint64_t longest = random.below(8) == 0 ? 300 : 12;
  const uint64_t count = std::min((1 + random.below(longest)) * unit, kDisk - offset);
  if (random.below(4) == 0) {
    disk.discard(offset, count);
    std::memset(&model[offset], 0, count);
  } else {
    const std::string bytes = some_bytes(random, count, random.below(2) == 0);
    disk.write(bytes.data(), count, offset);
    model.replace(offset, count, bytes);
  }
}

void check_reads(Random& random, BlockDevice& disk, const std::string& model) {
  Misses misses;
  for (int i = 0; i < 20; i++) {
    const uint64_t offset = random.below(kDisk / 512) * 512;
    const uint64_t count = std::min((1 + random.below(200)) * 512, kDisk - offset);
    std::string bytes(count, 'x');
    REQUIRE(disk.try_read(bytes.data(), count, offset, misses));
    REQUIRE(bytes == model.substr(offset, count));
  }
}

}  // namespace

TEST_CASE("random writes, discards and live seals read back; every sealed prefix is the disk of its moment") {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    CAPTURE(seed);
    TempDir dir;
    Random random(seed);
    std::string model(kDisk, '\0');
    Stack stack({}, new_layer(dir, "0"));
    std::vector<std::shared_ptr<Layer>> committed;
    for (int step = 1; step <= 8; step++) {
      for (uint64_t i = 0; i < 5 + random.below(60); i++) change(random, stack, model);
      check_reads(random, stack, model);
      const Stack::Frozen frozen = stack.stack_writable(new_layer(dir, std::to_string(step)));
      CHECK(frozen.layer->frozen());
      CHECK_THROWS_AS(frozen.layer->write(model.data(), 512, 0), std::system_error);
      REQUIRE(read_all(stack) == model);

      // Committed without the zeroes nothing needs, and reopened from the file, it gives the same disk.
      CommitOptions options;
      options.below = frozen.below;
      options.zfile->threads = 1 + static_cast<unsigned>(random.below(3));
      const std::string path = dir.file("layer" + std::to_string(step));
      const CommitResult result = commit(*frozen.layer, options, path);
      CHECK(result.digest == "sha256:" + sha256_file(path));
      CHECK(result.size == read_file(path).size());
      committed.push_back(open_sealed(path));
      CHECK(committed.back()->index()->size() == result.segments);
      Stack prefix(committed, nullptr);
      REQUIRE(read_all(prefix) == model);
    }

    // A second stack on the sealed layers, written to and sealed again.
    Stack again(committed, new_layer(dir, "again"));
    for (int i = 0; i < 100; i++) change(random, again, model);
    const Stack::Frozen frozen = again.stack_writable(new_layer(dir, "last"));
    for (int i = 0; i < 100; i++) change(random, again, model);
    check_reads(random, again, model);
    auto lowers = committed;
    lowers.push_back(frozen.layer);
    auto top = again.top();
    top->freeze();
    lowers.push_back(top);
    Stack frozen_stack(lowers, nullptr);
    REQUIRE(read_all(frozen_stack) == model);
  }
}

TEST_CASE("what was flushed survives the death of the process, whole") {
  TempDir dir;
  int to_parent[2];
  REQUIRE(::pipe(to_parent) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Stack stack({}, new_layer(dir, "rw"));
    std::string model(kDisk, '\0');
    Random random(5);
    for (int i = 0; i < 300; i++) change(random, stack, model);
    stack.flush();
    (void)!::write(to_parent[1], "x", 1);
    for (;;) change(random, stack, model);  // until killed, not flushed
  }
  char byte;
  REQUIRE(::read(to_parent[0], &byte, 1) == 1);
  ::usleep(20000);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(to_parent[0]);
  ::close(to_parent[1]);

  // Whatever moment it was killed at, the files open. Records may have been written since the flush when
  // their batch was full: replay the changes until the disk is the one found.
  const auto layer = WritableLayer::open(dir.file("rw.data"), dir.file("rw.index"));
  Stack stack({}, layer);
  const std::string found = read_all(stack);
  std::string model(kDisk, '\0');
  TempDir other;
  Stack replay({}, new_layer(other, "rw"));
  Random random(5);
  for (int i = 0; i < 300; i++) change(random, replay, model);
  if (layer->records() <= replay.top()->segments() + 300) CHECK(found == model);
  // And they can be written on.
  std::string now = found;
  for (int i = 0; i < 50; i++) change(random, stack, now);
  CHECK(read_all(stack) == now);
  stack.flush();
  Stack reopened({}, WritableLayer::open(dir.file("rw.data"), dir.file("rw.index")));
  CHECK(read_all(reopened) == now);
}

TEST_CASE("a torn last record is ignored, a record without its data is an error") {
  TempDir dir;
  const auto layer = new_layer(dir, "rw");
  const std::string bytes(8192, 'a');
  layer->write(bytes.data(), bytes.size(), 4096);
  layer->write(bytes.data(), 4096, 65536);
  layer->flush();
  const std::string index = read_file(dir.file("rw.index")), data = read_file(dir.file("rw.data"));
  CHECK(index.size() == 4096 + 2 * 16);
  write_file(dir.file("torn"), index.substr(0, index.size() - 5));
  CHECK(WritableLayer::open(dir.file("rw.data"), dir.file("torn"))->segments() == 1);
  write_file(dir.file("short"), data.substr(0, data.size() - 512));
  CHECK_THROWS_AS(WritableLayer::open(dir.file("short"), dir.file("rw.index")), FormatError);
}

TEST_CASE("what is written and discarded in one layer leaves nothing in it") {
  TempDir dir;
  const std::string bytes(1 << 20, 'b');
  Stack stack({}, new_layer(dir, "base"));
  stack.write(bytes.data(), 65536, 0);
  const Stack::Frozen base = stack.stack_writable(new_layer(dir, "1"));
  stack.write(bytes.data(), bytes.size(), 1 << 20);  // where nothing lies below
  stack.discard(1 << 20, 1 << 20);
  const Stack::Frozen written_and_deleted = stack.stack_writable(new_layer(dir, "2"));
  CommitOptions options;
  options.below = written_and_deleted.below;
  CHECK(commit(*written_and_deleted.layer, options, dir.file("l1")).segments == 0);
  options.below = nullptr;
  CHECK(commit(*written_and_deleted.layer, options, dir.file("l1")).segments == 1);

  // Zeroes that hide something stay, cut to what they hide, also through layers in between.
  stack.discard(32768, 1 << 20);
  const Stack::Frozen hiding = stack.stack_writable(new_layer(dir, "3"));
  options.below = hiding.below;
  commit(*hiding.layer, options, dir.file("l2"));
  const auto kept = open_sealed(dir.file("l2"))->index()->segments();
  REQUIRE(kept.size() == 1);
  CHECK(kept[0].zeroed);
  CHECK(kept[0].begin() * 512 == 32768);
  CHECK(kept[0].end() * 512 == 65536);

  // Below that layer nothing shows there any more: discarding it again needs no record.
  stack.discard(32768, 32768);
  const Stack::Frozen again = stack.stack_writable(new_layer(dir, "4"));
  options.below = again.below;
  CHECK(commit(*again.layer, options, dir.file("l3")).segments == 0);
}

TEST_CASE("a stack refuses what cannot be") {
  TempDir dir;
  CHECK_THROWS_AS(Stack({}, new_layer(dir, "sizeless", 0)), FormatError);
  CHECK_THROWS_AS(new_layer(dir, "odd", 1000), FormatError);
  CHECK_THROWS_AS(new_layer(dir, "sizeless"), std::system_error);  // exists
  CHECK_THROWS_AS(WritableLayer::create(dir.file("u.d"), dir.file("u.i"), kDisk, "not-a-uuid", ""), std::invalid_argument);
  Stack stack({}, new_layer(dir, "top"));
  std::string bytes(8192, 'c');
  Misses misses;
  CHECK_THROWS_AS(stack.write(bytes.data(), 8192, kDisk - 4096), FormatError);
  CHECK_THROWS_AS(stack.write(bytes.data(), 100, 0), FormatError);
  CHECK_THROWS_AS(stack.discard(512, UINT64_MAX - 511), FormatError);
  CHECK_THROWS_AS(stack.try_read(bytes.data(), 512, kDisk, misses), FormatError);
  CHECK_THROWS_AS(stack.try_read(bytes.data(), 512, 100, misses), FormatError);
  CHECK_THROWS_AS(stack.stack_writable(new_layer(dir, "small", kDisk / 2)), FormatError);
  const auto used = new_layer(dir, "used");
  used->write(bytes.data(), 4096, 0);
  CHECK_THROWS_AS(stack.stack_writable(used), FormatError);
  stack.write(bytes.data(), 4096, 0);  // still writable after these
  stack.top()->freeze();
  Stack read_only({stack.top()}, nullptr);
  CHECK_FALSE(read_only.writable());
  try {
    read_only.write(bytes.data(), 512, 0);
    FAIL("written to a read-only disk");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EROFS);
  }
}

TEST_CASE("a full disk fails the write, and what was written before stays") {
  TempDir dir;
  Stack stack({}, new_layer(dir, "top"));
  const std::string bytes(64 << 10, 'f');
  std::string model(kDisk, '\0');
  stack.write(bytes.data(), bytes.size(), 0);
  model.replace(0, bytes.size(), bytes);
  // As good as a full disk: no file may grow beyond this.
  rlimit before;
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 100000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  CHECK_THROWS_AS(stack.write(bytes.data(), bytes.size(), 4096), std::system_error);
  CHECK(read_all(stack) == model);
  const std::shared_ptr<WritableLayer> full = stack.top();
  full->freeze();
  CommitOptions options;
  options.zfile->threads = 2;
  small.rlim_cur = 1000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  CHECK_THROWS_AS(commit(*full, options, dir.file("out")), std::system_error);
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  CHECK(::access(dir.file("out").c_str(), F_OK) != 0);
  CHECK(::access(dir.file("out.tmp").c_str(), F_OK) != 0);
  commit(*full, options, dir.file("out"));
  Stack committed({open_sealed(dir.file("out"))}, nullptr);
  CHECK(read_all(committed) == model);
}

TEST_CASE("readers, writers and live seals at the same time") {
  // Every 4 KiB block always holds one byte value throughout, so a torn read shows.
  TempDir dir;
  Stack stack({}, new_layer(dir, "0"));
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < 2; w++) {
    threads.emplace_back([&, w] {
      Random random(static_cast<uint64_t>(w) + 1);
      for (int i = 0; i < 1500; i++) {
        const uint64_t block = random.below(kDisk / 4096 / 2) * 2 + static_cast<uint64_t>(w);
        const std::string bytes(4096, static_cast<char>(random()));
        if (i % 7 == 0) {
          stack.discard(block * 4096, 4096);
        } else {
          stack.write(bytes.data(), 4096, block * 4096);
        }
      }
    });
  }
  for (int r = 0; r < 2; r++) {
    threads.emplace_back([&, r] {
      Random random(static_cast<uint64_t>(r) + 10);
      std::string bytes(65536, 'x');
      Misses misses;
      while (!stop) {
        stack.try_read(bytes.data(), bytes.size(), random.below(kDisk / 65536) * 65536, misses);
        for (size_t b = 0; b < bytes.size(); b += 4096) {
          if (bytes.substr(b, 4096) != std::string(4096, bytes[b])) torn++;
        }
      }
    });
  }
  std::vector<Stack::Frozen> frozen;
  for (int i = 1; i <= 10; i++) frozen.push_back(stack.stack_writable(new_layer(dir, std::to_string(i))));
  threads[0].join();
  threads[1].join();
  stop = true;
  threads[2].join();
  threads[3].join();
  CHECK(torn == 0);

  // The layers, each read from its own index, give what was read through the common one.
  std::vector<std::shared_ptr<Layer>> layers;
  for (const auto& f : frozen) layers.push_back(f.layer);
  stack.top()->freeze();
  layers.push_back(stack.top());
  Stack rebuilt(layers, nullptr);
  CHECK(read_all(rebuilt) == read_all(stack));
}

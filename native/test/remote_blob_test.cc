#include "blob/remote_blob.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <thread>

#include "blob/fetch_manager.h"
#include "error.h"
#include "layer_support.h"

namespace obd {
namespace {

namespace fs = std::filesystem;

class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "obd-blob-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() { fs::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

std::string random_bytes(size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

// A registry with one blob, answering on a thread of its own.
class FakeRegistry {
 public:
  explicit FakeRegistry(std::string content) : content_(std::move(content)) {}
  ~FakeRegistry() { finish(); }
  // Waits for the answers under way, which need the manager.
  void finish() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  FetchManager::Send send() {
    return [this](const FetchRequest& request) {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      if (!hold_) answer_later(request);
    };
  }
  void hold() { hold_ = true; }
  // Answers everything that was held, and what comes later at once.
  void go_on() {
    const std::lock_guard lock(mutex_);
    hold_ = false;
    for (const FetchRequest& request : requests_) answer_later(request);
  }
  std::vector<FetchRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  // The end of what was asked for.
  uint64_t asked_up_to() const {
    uint64_t end = 0;
    for (const FetchRequest& request : requests()) end = std::max(end, request.offset + request.length);
    return end;
  }
  // What a request is answered with, instead of the truth.
  std::function<void(FetchManager&, const FetchRequest&)> answer;
  FetchManager* manager = nullptr;

 private:
  void answer_later(const FetchRequest& request) {
    threads_.emplace_back([this, request] {
      if (answer) return answer(*manager, request);
      test::answer_fetch(*manager, request.id, content_.substr(request.offset, request.length));
    });
  }

  const std::string content_;
  mutable std::mutex mutex_;
  std::atomic<bool> hold_{false};
  std::vector<FetchRequest> requests_;
  std::vector<std::thread> threads_;
};

struct Fixture {
  explicit Fixture(size_t size = 10 * kExtentSize + 1234)
      : content(random_bytes(size)), digest("sha256:" + test::sha256(content)), registry(content), fetches(std::make_unique<FetchManager>(registry.send())) {
    registry.manager = fetches.get();
  }
  ~Fixture() { registry.finish(); }
  std::shared_ptr<RemoteBlob> open() { return std::make_shared<RemoteBlob>(digest, content.size(), "{}", dir.path()); }
  std::string file() const { return dir.path() + "/sha256-" + digest.substr(7); }

  std::string read(RemoteBlob& blob, size_t count, uint64_t offset) {
    std::string bytes(count, '\0');
    for (;;) {
      Misses misses;
      if (blob.try_read(bytes.data(), count, offset, misses)) return bytes;
      fetches->wait_local(misses);
    }
  }

  TempDir dir;
  const std::string content, digest;
  FakeRegistry registry;
  std::unique_ptr<FetchManager> fetches;
};

TEST_CASE("a remote blob reads as its content, fetching each extent once") {
  Fixture f;
  const auto blob = f.open();
  CHECK(f.read(*blob, 100, 7) == f.content.substr(7, 100));
  CHECK(f.registry.requests().size() == 1);
  CHECK(f.read(*blob, kExtentSize - 200, 100) == f.content.substr(100, kExtentSize - 200));
  CHECK(f.registry.requests().size() == 1);
  CHECK(f.read(*blob, f.content.size(), 0) == f.content);
  CHECK(f.registry.requests().size() == 2);  // the rest, in one piece
  CHECK(f.fetches->fetched().at(f.digest) == f.content.size());
  CHECK_THROWS_AS(f.read(*blob, 2, f.content.size() - 1), FormatError);
}

TEST_CASE("what was fetched is there for whoever opens the blob next") {
  Fixture f;
  f.read(*f.open(), 5000, 3 * kExtentSize);
  const auto again = f.open();
  Misses misses;
  std::string bytes(5000, '\0');
  CHECK(again->try_read(bytes.data(), bytes.size(), 3 * kExtentSize, misses));
  CHECK(bytes == f.content.substr(3 * kExtentSize, 5000));
  CHECK_FALSE(again->try_read(bytes.data(), 10, 8 * kExtentSize, misses));
}

TEST_CASE("two openers of one blob see what either stores") {
  Fixture f;
  const auto one = f.open();
  const auto two = f.open();
  f.read(*one, 10, 0);
  Misses misses;
  char byte = 0;
  CHECK(two->try_read(&byte, 1, 9, misses));
  CHECK(byte == f.content[9]);
}

TEST_CASE("readers of the same missing bytes share one fetch") {
  Fixture f;
  const auto blob = f.open();
  f.registry.hold();
  std::vector<std::future<std::string>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(std::async(std::launch::async, [&f, blob, i] { return f.read(*blob, 1000, 2 * kExtentSize + i); }));
  }
  while (f.registry.requests().empty()) std::this_thread::yield();
  f.registry.go_on();
  for (int i = 0; i < 8; ++i) CHECK(readers[i].get() == f.content.substr(2 * kExtentSize + i, 1000));
  CHECK(f.registry.requests().size() == 2);  // the other is for what lies before
}

TEST_CASE("neighbours go out together up to 4 MiB, and only so many requests at once") {
  Fixture f(100 << 20);
  const auto blob = f.open();
  f.registry.hold();
  auto reader = std::async(std::launch::async, [&] { return f.read(*blob, f.content.size(), 0); });
  while (f.registry.requests().size() < 16) std::this_thread::yield();
  for (const FetchRequest& request : f.registry.requests()) CHECK(request.length == 4 << 20);
  f.registry.go_on();
  CHECK(reader.get() == f.content);
  CHECK(f.registry.requests().size() == 25);
}

TEST_CASE("a reader on its way through the blob gets more and more ahead of it") {
  Fixture f(40 * kExtentSize);
  const auto blob = f.open();
  uint64_t asked = 0;
  for (uint64_t extent = 0; extent < 40; ++extent) {
    f.read(*blob, kExtentSize, extent * kExtentSize);
    CHECK(f.registry.asked_up_to() >= std::min<uint64_t>(40, extent + 1 + extent / 3) * kExtentSize);
    CHECK(f.registry.asked_up_to() <= std::max<uint64_t>(4, 2 * extent + 2) * kExtentSize);
  }
  for (const FetchRequest& request : f.registry.requests()) asked += request.length;
  CHECK(asked == 40 * kExtentSize);
  CHECK(f.registry.requests().size() <= 20);
}

TEST_CASE("a reader that waits for the network finds what it reads next on its way") {
  Fixture f(200 * kExtentSize);
  const auto blob = f.open();
  f.registry.hold();
  // Reads right behind each other of which none has come yet, as a kernel that reads ahead makes them.
  std::atomic<int> done{0};
  for (uint64_t extent = 0; extent < 20; extent += 2) {
    Misses misses;
    std::string bytes(2 * kExtentSize, '\0');
    REQUIRE_FALSE(blob->try_read(bytes.data(), bytes.size(), extent * kExtentSize, misses));
    f.fetches->when_local(misses, [&](std::exception_ptr error) {
      if (!error) ++done;
    });
  }
  CHECK(f.registry.asked_up_to() >= 24 * kExtentSize);
  f.registry.go_on();
  while (done < 10) std::this_thread::yield();
}

TEST_CASE("the first touch of a place gets what lies around it, and no more") {
  Fixture f(40 * kExtentSize);
  const auto blob = f.open();
  CHECK(f.read(*blob, 100, 22 * kExtentSize + 7) == f.content.substr(22 * kExtentSize + 7, 100));
  for (uint64_t extent = 20; extent < 24; ++extent) {
    while (!blob->has(extent)) std::this_thread::yield();
  }
  uint64_t asked = 0;
  for (const FetchRequest& request : f.registry.requests()) asked += request.length;
  CHECK(asked == 4 * kExtentSize);
  // What is waited for is not behind what is not.
  CHECK(f.registry.requests()[0].offset == 22 * kExtentSize);
}

TEST_CASE("a reader gets its bytes as soon as they have come, not with the end of the answer") {
  Fixture f(40 * kExtentSize);
  const auto blob = f.open();
  f.registry.hold();
  auto all = std::async(std::launch::async, [&] { return f.read(*blob, f.content.size(), 0); });
  while (f.registry.requests().empty()) std::this_thread::yield();
  const FetchRequest request = f.registry.requests()[0];
  REQUIRE(request.length == f.content.size());
  f.fetches->receive(request.id, f.content.data(), 2 * kExtentSize + 5);
  CHECK(f.read(*blob, 2 * kExtentSize, 0) == f.content.substr(0, 2 * kExtentSize));
  CHECK_FALSE(blob->has(2));
  // Odd pieces make whole extents as well.
  for (uint64_t at = 2 * kExtentSize + 5; at < request.length;) {
    const uint64_t count = std::min<uint64_t>(request.length - at, 100'003);
    f.fetches->receive(request.id, f.content.data() + at, count);
    at += count;
  }
  f.fetches->complete(request.id);
  CHECK(all.get() == f.content);
  CHECK(f.registry.requests().size() == 1);
}

TEST_CASE("what came before an answer broke off is kept, and the error names the rest") {
  Fixture f(40 * kExtentSize);
  const auto blob = f.open();
  f.registry.hold();
  auto all = std::async(std::launch::async, [&] { return f.read(*blob, f.content.size(), 0); });
  while (f.registry.requests().empty()) std::this_thread::yield();
  const uint64_t id = f.registry.requests()[0].id;
  f.fetches->receive(id, f.content.data(), 10 * kExtentSize + 1);
  f.fetches->fail(id, "the cable is cut");
  CHECK_THROWS_WITH_AS(all.get(), (f.digest + ": bytes 655360 to 2621439: the cable is cut").c_str(), FetchError);
  CHECK(f.read(*blob, 10 * kExtentSize, 0) == f.content.substr(0, 10 * kExtentSize));
  CHECK(f.registry.requests().size() == 1);
  f.registry.go_on();
  CHECK(f.read(*blob, f.content.size(), 0) == f.content);
  CHECK(f.registry.requests()[1].offset == 10 * kExtentSize);
}

TEST_CASE("what a trace has foreseen is not read ahead of") {
  Fixture f(100 * kExtentSize);
  const auto blob = f.open();
  f.fetches->prefetch(*blob, 0, 20);
  for (uint64_t extent = 0; extent < 20; ++extent) f.read(*blob, kExtentSize, extent * kExtentSize);
  CHECK(f.registry.asked_up_to() == 20 * kExtentSize);
  // Behind its end the reader is one as any other.
  f.read(*blob, kExtentSize, 20 * kExtentSize);
  CHECK(f.registry.asked_up_to() > 21 * kExtentSize);
}

TEST_CASE("a failed fetch is an error for its readers, and the next reader tries again") {
  Fixture f;
  const auto blob = f.open();
  f.registry.answer = [](FetchManager& manager, const FetchRequest& request) { manager.fail(request.id, "no route"); };
  try {
    f.read(*blob, 10, 3 * kExtentSize);
    FAIL("no error");
  } catch (const FetchError& e) {
    CHECK(e.digest == f.digest);
    CHECK(e.offset == 3 * kExtentSize);
    CHECK(std::string(e.what()) == f.digest + ": bytes 196608 to 262143: no route");
  }
  f.registry.answer = nullptr;
  CHECK(f.read(*blob, 10, 3 * kExtentSize) == f.content.substr(3 * kExtentSize, 10));
}

TEST_CASE("an answer of the wrong length is an error, and answers nobody asked for are ignored") {
  Fixture f;
  const auto blob = f.open();
  f.registry.answer = [](FetchManager& manager, const FetchRequest& request) { test::answer_fetch(manager, request.id, "short"); };
  CHECK_THROWS_WITH_AS(f.read(*blob, 10, 0), doctest::Contains("got 5 bytes instead of 262144"), FetchError);
  test::answer_fetch(*f.fetches, 4711, "what");
  f.fetches->fail(4711, "what");
  FetchRequest answered;
  f.registry.answer = [&](FetchManager& manager, const FetchRequest& request) {
    answered = request;
    test::answer_fetch(manager, request.id, f.content.substr(request.offset, request.length));
  };
  CHECK(f.read(*blob, 10, 0) == f.content.substr(0, 10));
  test::answer_fetch(*f.fetches, answered.id, std::string(answered.length, 'x'));
  f.fetches->fail(answered.id, "twice");
  CHECK(f.read(*blob, 10, 0) == f.content.substr(0, 10));
}

TEST_CASE("the end of the manager fails what is under way") {
  Fixture f;
  const auto blob = f.open();
  f.registry.hold();
  std::promise<std::string> message;
  Misses misses;
  char byte = 0;
  REQUIRE_FALSE(blob->try_read(&byte, 1, 0, misses));
  f.fetches->when_local(misses, [&](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      message.set_value(e.what());
    }
  });
  f.fetches.reset();
  CHECK(message.get_future().get().find("ending") != std::string::npos);
}

TEST_CASE("distrusted bytes are fetched again once") {
  Fixture f;
  const auto blob = f.open();
  f.read(*blob, 10, 0);
  Misses misses;
  CHECK(blob->distrust(5, 3, misses));
  REQUIRE(misses.size() == 1);
  CHECK(misses[0].extent == 0);
  char byte = 0;
  CHECK_FALSE(blob->try_read(&byte, 1, 0, misses));
  f.read(*blob, 10, 0);
  CHECK(f.registry.requests().size() == 2);
  misses.clear();
  CHECK_FALSE(blob->distrust(5, 3, misses));
  CHECK(misses.empty());
  CHECK_FALSE(blob->try_read(&byte, 1, 0, misses));  // wrong bytes do not stay
}

// Every way to spoil a byte of the file: the content must come out right, or be fetched again.
TEST_CASE("a damaged cache file never gives wrong bytes") {
  Fixture f(3 * kExtentSize + 100);
  f.read(*f.open(), f.content.size(), 0);
  const auto size = fs::file_size(f.file());
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    {
      std::fstream file(f.file(), std::ios::in | std::ios::out | std::ios::binary);
      for (int n = 0; n < 5; ++n) {
        // The table and the header as often as the data.
        const uint64_t at = random() % (random() % 2 == 0 ? 8192 : size);
        file.seekp(static_cast<std::streamoff>(at));
        file.put(static_cast<char>(random()));
      }
    }
    if (round % 7 == 0) fs::resize_file(f.file(), random() % size);
    CHECK(f.read(*f.open(), f.content.size(), 0) == f.content);
    CHECK(fs::file_size(f.file()) == size);
  }
}

TEST_CASE("a file cut short under an open blob is noticed") {
  Fixture f;
  const auto blob = f.open();
  f.read(*blob, f.content.size(), 0);
  fs::resize_file(f.file(), fs::file_size(f.file()) / 2);
  CHECK(f.read(*blob, f.content.size(), 0) == f.content);
}

TEST_CASE("a blob of another size under the same name replaces the entry") {
  Fixture f;
  f.read(*f.open(), 10, 0);
  const RemoteBlob other(f.digest, 100, "{}", f.dir.path());
  CHECK(other.size() == 100);
  for (const auto& entry : fs::directory_iterator(f.dir.path())) CHECK(entry.path() == f.file());
}

TEST_CASE("an empty blob has nothing to fetch") {
  Fixture f(0);
  const auto blob = f.open();
  CHECK(f.read(*blob, 0, 0).empty());
  CHECK_THROWS_AS(f.read(*blob, 1, 0), FormatError);
}

}  // namespace
}  // namespace obd

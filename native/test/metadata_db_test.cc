#include "store/metadata_db.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

using obd::MetadataFile;
using obd::MetadataView;
using obd::MetadataWrite;
using Kind = obd::MetadataWrite::Kind;

namespace {

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = "/tmp/obd-metadata-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() {
    for (const char* name : {"/db", "/db-lock", "/other"}) ::unlink((path + name).c_str());
    ::rmdir(path.c_str());
  }
  std::string path;
};

void write(const std::shared_ptr<MetadataFile>& file, std::vector<MetadataWrite> writes) {
  file->finish(file->enqueue(std::move(writes)));
}

std::string keys(MetadataView& view, const std::string& prefix, const std::string& after = "", size_t limit = 100) {
  std::string all;
  for (const auto& [key, value] : view.range(prefix, after, limit)) all += key + "=" + value + " ";
  return all;
}

}  // namespace

TEST_CASE("writes are seen after a close and an open") {
  const TemporaryDirectory dir;
  {
    const auto file = MetadataFile::open(dir.path + "/db");
    write(file, {{Kind::put, "a", "1"}, {Kind::put, "b", "2"}, {Kind::remove, "a", ""}, {Kind::remove, "zz", ""}});
  }
  MetadataView view(MetadataFile::open(dir.path + "/db"));
  CHECK_FALSE(view.get("a"));
  CHECK(view.get("b") == "2");
}

TEST_CASE("ranges, prefixes and conditional writes") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  MetadataView view(file);
  CHECK(keys(view, "") == "");
  write(file, {{Kind::put, "a1", "x"}, {Kind::put, "a2", "x"}, {Kind::put, "a3", ""}, {Kind::put, "b", "y"}});
  CHECK(keys(view, "a") == "a1=x a2=x a3= ");
  CHECK(keys(view, "a", "a1") == "a2=x a3= ");
  CHECK(keys(view, "a", "a1", 1) == "a2=x ");
  CHECK(keys(view, "", "a3") == "b=y ");
  CHECK(keys(view, "", "") == "a1=x a2=x a3= b=y ");
  CHECK(keys(view, "c") == "");
  write(file, {{Kind::put_existing, "a1", "new"}, {Kind::put_existing, "none", "new"}});
  CHECK(view.get("a1") == "new");
  CHECK_FALSE(view.get("none"));
  write(file, {{Kind::remove_prefix, "a", ""}, {Kind::remove_prefix, "q", ""}});
  CHECK(keys(view, "") == "b=y ");
}

TEST_CASE("a prefix over many pages is deleted whole, and nothing else") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  std::vector<MetadataWrite> writes;
  for (int i = 0; i < 5000; i++) writes.push_back({Kind::put, "m" + std::to_string(i), std::string(200, 'v')});
  writes.push_back({Kind::put, "l", "1"});
  writes.push_back({Kind::put, "n", "2"});
  write(file, writes);
  write(file, {{Kind::remove_prefix, "m", ""}});
  MetadataView view(file);
  CHECK(keys(view, "") == "l=1 n=2 ");
}

TEST_CASE("keys that LMDB cannot hold are refused before anything is written") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  MetadataView view(file);
  CHECK_THROWS_AS(file->enqueue({{Kind::put, "good", "1"}, {Kind::put, "", "1"}}), std::length_error);
  CHECK_THROWS_AS(file->enqueue({{Kind::put, std::string(600, 'k'), "1"}}), std::length_error);
  CHECK_THROWS_AS(view.get(""), std::length_error);
  write(file, {{Kind::put, std::string(511, 'k'), std::string(100000, 'v')}});
  CHECK(view.get(std::string(511, 'k'))->size() == 100000);
  CHECK_FALSE(view.get("good"));
}

TEST_CASE("a transaction is seen by itself at once, by others when it commits, and not when it aborts") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  MetadataView one(file);
  MetadataView other(file);
  one.begin();
  one.apply({{Kind::put, "k", "1"}});
  CHECK(one.get("k") == "1");
  CHECK_FALSE(other.get("k"));
  CHECK_THROWS_AS(one.begin(), std::logic_error);
  one.abort();
  CHECK_FALSE(one.get("k"));
  one.begin();
  one.apply({{Kind::put, "k", "2"}});
  one.commit();
  CHECK(other.get("k") == "2");
  CHECK_THROWS_AS(one.commit(), std::logic_error);
  CHECK_THROWS_AS(one.apply({}), std::logic_error);
}

TEST_CASE("writes of many threads are all done, each thread's in its order") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; t++) {
    threads.emplace_back([&file, t] {
      for (int i = 0; i < 50; i++) {
        write(file, {{Kind::put, "t" + std::to_string(t), std::to_string(i)},
                     {Kind::put, "t" + std::to_string(t) + "/" + std::to_string(i), ""}});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  MetadataView view(file);
  CHECK(view.get("t3") == "49");
  CHECK(view.range("t", "", 10000).size() == 8 * 51);
}

TEST_CASE("one process has a file open once, by whatever name") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  CHECK(MetadataFile::open(dir.path + "/../" + dir.path.substr(5) + "/db") == file);
}

TEST_CASE("opening and closing on many threads at once keeps to one at a time") {
  const TemporaryDirectory dir;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&dir, t] {
      for (int i = 0; i < 25; i++) {
        write(MetadataFile::open(dir.path + "/db"), {{Kind::put, std::to_string(t) + "/" + std::to_string(i), "1"}});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  MetadataView view(MetadataFile::open(dir.path + "/db"));
  CHECK(view.range("", "", 1000).size() == 100);
}

TEST_CASE("a process killed in a transaction holds nobody up, and its writes are not there") {
  const TemporaryDirectory dir;
  const std::string path = dir.path + "/db";
  write(MetadataFile::open(path), {{Kind::put, "before", "1"}});
  const pid_t child = ::fork();
  if (child == 0) {
    MetadataView view(MetadataFile::open(path));
    view.begin();
    view.apply({{Kind::put, "half", "1"}});
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  const auto file = MetadataFile::open(path);
  write(file, {{Kind::put, "after", "1"}});
  MetadataView view(file);
  CHECK(keys(view, "") == "after=1 before=1 ");
}

TEST_CASE("a child process inherits nothing of the database") {
  const TemporaryDirectory dir;
  const auto file = MetadataFile::open(dir.path + "/db");
  CHECK(std::system(("ls -l /proc/self/fd | grep -q " + dir.path).c_str()) != 0);
}

TEST_CASE("what is no database is an error") {
  const TemporaryDirectory dir;
  {
    std::ofstream(dir.path + "/other") << std::string(65536, 'A');
  }
  CHECK_THROWS_WITH_AS(MetadataFile::open(dir.path + "/other"), doctest::Contains("MDB_INVALID"), std::runtime_error);
  CHECK_THROWS_AS(MetadataFile::open(dir.path + "/missing/db"), std::system_error);
  CHECK_THROWS_AS(MetadataFile::open("/dev/null/db"), std::system_error);
  ::unlink((dir.path + "/other-lock").c_str());
}

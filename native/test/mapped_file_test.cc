// Bytes read where the kernel keeps them: the same as by pread, and no signal when they are gone.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "blob/local_blob.h"
#include "error.h"
#include "layer_support.h"
#include "system/io_thread.h"
#include "system/unique_fd.h"
#include "zfile/payload.h"
#include "zfile/zfile.h"

using namespace obd;
using namespace obd::test;

namespace {

std::shared_ptr<ZFile> open_zfile(const std::string& path) {
  Misses none;
  std::shared_ptr<ZFile> file;
  ZFile::try_open(std::make_shared<LocalBlob>(path), file, none);
  return file;
}

}  // namespace

TEST_CASE("a local file lends its bytes") {
  TempDir dir;
  Random random(1);
  const std::string bytes = some_bytes(random, 300000, true), path = dir.file("x");
  write_file(path, bytes);
  const auto blob = std::make_shared<LocalBlob>(path);
  WindowBlob window(blob, 1000, 200000);
  {
    const LentBytes lent = blob->lend(5000, 100001);
    REQUIRE(lent.data());
    CHECK(std::string(lent.data(), 100001) == bytes.substr(5000, 100001));
    CHECK(lent.intact());
  }
  const LentBytes lent = window.lend(7, 9);
  REQUIRE(lent.data());
  CHECK(std::string(lent.data(), 9) == bytes.substr(1007, 9));
  // Not past its end, nor more than is looked at at once.
  CHECK_FALSE(blob->lend(299999, 2).data());
  CHECK_FALSE(blob->lend(UINT64_MAX, 1).data());
  CHECK_FALSE(blob->lend(0, 2 << 20).data());
}

TEST_CASE("threads that serve devices are lent bytes, those that a fault would end are not") {
  TempDir dir;
  write_file(dir.file("x"), std::string(5000, 'x'));
  LocalBlob blob(dir.file("x"));
  bool serving = false, blocking = true;
  std::thread([&] {
    become_io_thread("test");
    serving = blob.lend(0, 5000).data() != nullptr;
  }).join();
  std::thread([&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    blocking = blob.lend(0, 5000).data() != nullptr;
  }).join();
  CHECK(serving);
  CHECK_FALSE(blocking);
}

TEST_CASE("bytes that are gone while they are lent do not count, and later ones are read in the usual way") {
  for (const size_t left : {size_t{10000}, size_t{99990}}) {  // without a page, and less than a page shorter
    TempDir dir;
    const std::string path = dir.file("x");
    write_file(path, std::string(100000, 'x'));
    LocalBlob blob(path);
    const LentBytes lent = blob.lend(0, 100000);
    REQUIRE(lent.data());
    CHECK(lent.data()[99999] == 'x');
    CHECK(lent.intact());
    std::filesystem::resize_file(path, left);
    CHECK(lent.data()[left - 1] == 'x');
    CHECK(lent.data()[99999] == 0);
    CHECK_FALSE(lent.intact());
  }
}

TEST_CASE("bytes count that were read before the place where the last page is cut, and none when more is gone") {
  TempDir dir;
  const std::string path = dir.file("x");
  write_file(path, std::string(100000, 'x'));
  LocalBlob blob(path);
  {
    const LentBytes lent = blob.lend(0, 5000);
    REQUIRE(lent.data());
    std::filesystem::resize_file(path, 99990);
    CHECK(lent.data()[4999] == 'x');
    CHECK(lent.intact());
    std::filesystem::resize_file(path, 50000);
    CHECK_FALSE(lent.intact());
  }
  CHECK_FALSE(blob.lend(0, 5000).data());
}

TEST_CASE("bytes are lent across the pieces that the kernel is asked about, and again") {
  TempDir dir;
  Random random(3);
  const std::string bytes = some_bytes(random, 1 << 20, true), path = dir.file("x");
  write_file(path, bytes);
  LocalBlob blob(path);
  for (int round = 0; round < 2; ++round) {
    for (size_t at : {size_t{0}, size_t{200001}, size_t{262143}, size_t{600000}}) {
      const LentBytes lent = blob.lend(at, 400000);
      REQUIRE(lent.data());
      CHECK(std::string(lent.data(), 400000) == bytes.substr(at, 400000));
      CHECK(lent.intact());
    }
  }
}

TEST_CASE("what is not in memory is not lent, but what is there beside it is") {
  TempDir dir;
  const std::string path = dir.file("x");
  write_file(path, std::string(1 << 20, 'x'));
  const UniqueFd fd(::open(path.c_str(), O_RDWR));
  REQUIRE(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM) == 0);  // no page is read but the one that is asked for
  if (!leave_memory(path)) return;
  char page[4096];
  REQUIRE(::pread(fd.get(), page, sizeof page, 8192) == sizeof page);
  LocalBlob blob(path);
  CHECK(blob.lend(8192, 4096).data());
  CHECK_FALSE(blob.lend(8192, 4097).data());
  CHECK_FALSE(blob.lend(8191, 2).data());
  CHECK_FALSE(blob.lend(300000, 10).data());
}

TEST_CASE("what leaves memory just after it was seen there is still lent, and read from the disk") {
  TempDir dir;
  Random random(4);
  const std::string bytes = some_bytes(random, 256 << 10, true), path = dir.file("x");
  write_file(path, bytes);
  // Again when more than the second has gone by in which it is believed to be there.
  for (int round = 0; round < 20; ++round) {
    REQUIRE(read_file(path) == bytes);
    LocalBlob blob(path);
    REQUIRE(blob.lend(0, bytes.size()).data());  // not looked at, so that it may leave
    if (!leave_memory(path)) return;
    REQUIRE_FALSE(LocalBlob(path).lend(0, 1).data());
    const LentBytes lent = blob.lend(0, bytes.size());
    if (!lent.data()) continue;
    CHECK(std::string(lent.data(), bytes.size()) == bytes);
    CHECK(lent.intact());
    return;
  }
  FAIL("it was not lent");
}

TEST_CASE("a compressed layer that is cut short while it is served is an error that names it") {
  for (const size_t cut : {size_t{100}, size_t{1} << 18}) {
    TempDir dir;
    Random random(2);
    const std::string bytes = some_bytes(random, 1 << 20, false), path = dir.file("z");
    write_file(dir.file("x"), bytes);
    compress_file(dir.file("x"), path, ZFileOptions(), false);
    const auto file = open_zfile(path);
    REQUIRE(file);
    Misses none;
    std::string read(bytes.size(), '\0');
    REQUIRE(file->try_read(read.data(), read.size(), 0, none));
    CHECK(read == bytes);
    // Some of the last block is missing, or many blocks are.
    std::filesystem::resize_file(path, file->header().index_offset - cut);
    for (int round = 0; round < 2; ++round) {
      std::string problem;
      try {
        file->try_read(read.data(), read.size(), 0, none);
      } catch (const FormatError& e) {
        problem = e.what();
      }
      CHECK(problem.find(path + ": the file ends here") == 0);
    }
    // What is left is read as ever.
    REQUIRE(file->try_read(read.data(), 500000, 0, none));
    CHECK(read.compare(0, 500000, bytes, 0, 500000) == 0);
  }
}

TEST_CASE("a fault anywhere else still ends the process") {
  TempDir dir;
  write_file(dir.file("x"), std::string(100, 'x'));
  LocalBlob blob(dir.file("x"));
  const LentBytes lent = blob.lend(0, 100);
  REQUIRE(lent.data());
  const auto ends = [](auto act) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(2);
      ::signal(SIGALRM, SIG_DFL);
      ::alarm(60);
      act();
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
  };
  CHECK(ends([&] {
    const int fd = ::open(dir.file("empty").c_str(), O_RDWR | O_CREAT, 0600);
    const auto* const page = static_cast<const volatile char*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    static_cast<void>(*page);
  }));
  CHECK(ends([] { ::raise(SIGBUS); }));
}

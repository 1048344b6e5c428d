#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/child.h"
#include "runtime/rootfs.h"
#include "runtime/x32.h"

namespace fs = std::filesystem;
using namespace obd::runtime;

namespace {

struct Result {
  ExitStatus status;
  std::string out, err;
};

Result run(const std::vector<std::string>& argv, const std::vector<std::string>& env = {"PATH=/bin:/usr/bin"}) {
  Result result;
  Child child = Child::spawn(argv, env);
  result.status = child.wait([&](int stream, const uint8_t* data, size_t size) {
    (stream == 1 ? result.out : result.err).append(reinterpret_cast<const char*>(data), size);
  });
  return result;
}

struct TempDir {
  fs::path path;
  TempDir() {
    char name[] = "/tmp/obd-runtime-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { fs::remove_all(path); }
};

void write(const fs::path& file, const std::string& content) { std::ofstream(file) << content; }

struct timespec mtime(const fs::path& path) {
  struct stat st;
  REQUIRE(stat(path.c_str(), &st) == 0);
  return st.st_mtim;
}

void age(const fs::path& path) {
  const struct timespec times[2] = {{1000, 5}, {2000, 7}};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

bool aged(const fs::path& path) { return mtime(path).tv_sec == 2000 && mtime(path).tv_nsec == 7; }

}  // namespace

TEST_CASE("child: output, environment and exit code") {
  const Result result = run({"sh", "-c", "echo \"$A\"; echo err >&2; exit 7"}, {"PATH=/bin:/usr/bin", "A=x y"});
  CHECK(result.out == "x y\n");
  CHECK(result.err == "err\n");
  CHECK(result.status.code == 7);
  CHECK(result.status.signal == 0);
}

TEST_CASE("child: much output on both streams is not lost and does not block") {
  const Result result = run({"sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; echo e >&2; i=$((i+1)); done"});
  CHECK(result.out.size() == 3000 * 41);
  CHECK(result.err.size() == 3000 * 2);
}

TEST_CASE("child: ends by a signal, closes its output early, leaves a process behind") {
  CHECK(run({"sh", "-c", "kill -KILL $$"}).status.signal == SIGKILL);
  CHECK(run({"sh", "-c", "exec >&- 2>&-; sleep 0.05; exit 3"}).status.code == 3);
  const Result left = run({"sh", "-c", "sleep 5 & echo $!"});
  CHECK(left.status.code == 0);
  const pid_t pid = static_cast<pid_t>(std::stol(left.out));
  CHECK(kill(pid, SIGKILL) == 0);
}

TEST_CASE("child: starts with a clean slate") {
  const int leak = open("/dev/null", O_RDONLY);  // not close-on-exec
  signal(SIGPIPE, SIG_IGN);
  const Result files = run({"sh", "-c", "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0"});
  // Asked directly: a shell blocks signals of its own while it waits.
  const Result signals = run({"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"});
  close(leak);
  signal(SIGPIPE, SIG_DFL);
  CHECK(files.out == "4\n/dev/null\n");  // 0, 1, 2 and the directory being read
  CHECK(signals.out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("child: a program that cannot be started") {
  const auto code = [](const std::string& program) {
    try {
      run({program});
      return 0;
    } catch (const std::system_error& e) {
      return e.code().value();
    }
  };
  CHECK(code("no-such-program-here") == ENOENT);
  CHECK(code("/no/such/program") == ENOENT);
  CHECK(code("/etc/passwd") == EACCES);
  CHECK_THROWS_AS(run({}), std::system_error);
}

TEST_CASE("rootfs: mount points are made, and unmade without a trace") {
  TempDir dir;
  const fs::path root = dir.path / "root";
  fs::create_directories(root / "etc");
  write(root / "etc/passwd", "root:x:0:0::/:\n");
  write(dir.path / "source", "s");
  age(root / "etc");
  age(root);
  const RootfsState state = prepare_rootfs(
      root, {{"/etc/hosts", "/dev/null"}, {"/a/b/c", ""}, {"/a/b/file", dir.path / "source"}, {"/etc/passwd", "/dev/null"}},
      true, {"/etc/passwd", "/etc/group", "/etc"}, "/etc/../etc");
  CHECK(state.stubs == std::vector<std::string>{"/etc/hosts", "/a", "/a/b", "/a/b/c", "/a/b/file"});
  CHECK(fs::is_regular_file(root / "etc/hosts"));
  CHECK(fs::is_directory(root / "a/b/c"));
  CHECK(fs::is_regular_file(root / "a/b/file"));
  CHECK(state.cwd_exists);
  REQUIRE(state.files.size() == 3);
  CHECK(state.files[0] == "root:x:0:0::/:\n");
  CHECK_FALSE(state.files[1]);
  CHECK_FALSE(state.files[2]);
  CHECK(aged(root / "etc"));
  CHECK(aged(root));
  remove_stubs(root, state.stubs);
  CHECK_FALSE(fs::exists(root / "a"));
  CHECK_FALSE(fs::exists(root / "etc/hosts"));
  CHECK(fs::exists(root / "etc/passwd"));
  CHECK(aged(root / "etc"));
  CHECK(aged(root));
}

TEST_CASE("rootfs: stubs that were used stay, and those that changed are not followed") {
  TempDir dir;
  const fs::path root = dir.path / "root";
  fs::create_directories(root);
  const RootfsState state = prepare_rootfs(root, {{"/full/x", ""}, {"/written", "/dev/null"}, {"/swapped/x", ""}}, true, {}, "/nowhere");
  CHECK_FALSE(state.cwd_exists);
  write(root / "full/mine", "1");
  write(root / "written", "1");
  fs::remove_all(root / "swapped");
  fs::create_directories(dir.path / "outside/x");
  fs::create_directory_symlink(dir.path / "outside", root / "swapped");
  remove_stubs(root, state.stubs);
  CHECK(fs::exists(root / "full/mine"));
  CHECK_FALSE(fs::exists(root / "full/x"));
  CHECK(fs::exists(root / "written"));
  CHECK(fs::is_symlink(root / "swapped"));
  CHECK(fs::exists(dir.path / "outside/x"));
}

TEST_CASE("rootfs: links and obstacles") {
  TempDir dir;
  const fs::path root = dir.path / "root";
  fs::create_directories(root);
  fs::create_symlink("/../../up", root / "link");
  write(root / "file", "");
  REQUIRE(mkfifo((root / "fifo").c_str(), 0600) == 0);
  const RootfsState state = prepare_rootfs(root, {{"/link/x", ""}, {"/file/below", ""}, {"/link2/../../y", ""}}, false, {"/fifo", "/link"}, "/");
  CHECK(fs::is_directory(root / "up/x"));
  CHECK(state.stubs == std::vector<std::string>{"/up/x", "/y"});
  CHECK_FALSE(state.files[0]);
  CHECK_FALSE(state.files[1]);
  remove_stubs(root, state.stubs);
  CHECK(fs::exists(root / "up"));
  CHECK_THROWS(prepare_rootfs(dir.path / "missing", {}, true, {}, "/"));
}

TEST_CASE("rootfs: working directory") {
  TempDir dir;
  const fs::path root = dir.path / "root";
  fs::create_directories(root / "have");
  write(root / "file", "");
  const mode_t mask = umask(077);
  make_working_dir(root, "/have/new/deep", 12, 34);
  umask(mask);
  struct stat st;
  REQUIRE(stat((root / "have/new").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0755);
  CHECK(st.st_uid == 12);
  CHECK(st.st_gid == 34);
  REQUIRE(stat((root / "have").c_str(), &st) == 0);
  CHECK(st.st_uid == 0);
  try {
    make_working_dir(root, "/file/x", 0, 0);
    FAIL("no error");
  } catch (const std::exception& e) {
    CHECK(std::string(e.what()).find("not a directory") != std::string::npos);
  }
}

TEST_CASE("x32: asking does no harm") { CHECK(kernel_has_x32() == kernel_has_x32()); }

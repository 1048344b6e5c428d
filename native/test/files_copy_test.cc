// File actions: what COPY, mkdir, mkfile, symlink and rm leave behind.
#include <doctest/doctest.h>

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "files/file_actions.h"
#include "files_support.h"

using namespace obd::files;
using files_test::failure;
using files_test::Scratch;

namespace {

struct Rig {
  Scratch s;
  Rig() {
    s.dir("src");
    s.dir("dst");
  }
  std::shared_ptr<Tree> source() const { return files_test::tree(s.at("src")); }
  void run(const FileAction& action) const { run_file_actions(s.at("dst"), {action}, files_test::task()); }
  CopyAction action(const std::string& src, const std::string& dest) const {
    CopyAction out;
    out.source = source();
    out.path = src;
    out.dest = dest;
    out.create_dest_path = out.allow_wildcard = out.allow_empty_wildcard = true;
    out.options.follow_links = out.options.dir_contents = true;
    return out;
  }
  void copy(const std::string& src, const std::string& dest) const { run(action(src, dest)); }
};

}  // namespace

TEST_CASE("copies keep modes, owners, times, links, xattrs, holes and devices") {
  Rig r;
  r.s.file("src/suid", "x", 04755);
  r.s.set_mtime("src/suid", 1234567890, 123456789);
  lchown(r.s.at("src/suid").c_str(), 10, 20);
  chmod(r.s.at("src/suid").c_str(), 04755);
  r.s.file("src/d/capable", "c");
  lsetxattr(r.s.at("src/d/capable").c_str(), "security.capability", files_test::kCapability.data(), 20, 0);
  lsetxattr(r.s.at("src/d/capable").c_str(), "user.note", "n", 1, 0);
  lsetxattr(r.s.at("src/d").c_str(), "user.dir", "d", 1, 0);
  link(r.s.at("src/d/capable").c_str(), r.s.at("src/d/hard").c_str());
  r.s.link("src/sym", "../anywhere");
  r.s.set_mtime("src/sym", 55);
  mkfifo(r.s.at("src/fifo").c_str(), 0640);
  mknod(r.s.at("src/dev").c_str(), S_IFBLK | 0660, makedev(7, 99));
  r.s.file("src/sparse", "");
  truncate(r.s.at("src/sparse").c_str(), 8 << 20);
  {
    std::fstream file(r.s.at("src/sparse"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4 << 20);
    file << "island";
  }
  r.s.dir("src/d", 01777);
  r.s.set_mtime("src/d", 99, 5);

  r.copy("/", "/");

  struct stat st = r.s.stat("dst/suid");
  CHECK((st.st_mode & 07777) == 04755);
  CHECK(st.st_uid == 10);
  CHECK(st.st_gid == 20);
  CHECK(st.st_mtim.tv_sec == 1234567890);
  CHECK(st.st_mtim.tv_nsec == 123456789);
  CHECK(r.s.xattr("dst/d/capable", "security.capability") == files_test::kCapability);
  CHECK(r.s.xattr("dst/d/capable", "user.note") == "n");
  CHECK(r.s.xattr("dst/d", "user.dir") == "d");
  CHECK(r.s.stat("dst/d/hard").st_ino == r.s.stat("dst/d/capable").st_ino);
  CHECK(r.s.target("dst/sym") == "../anywhere");
  CHECK(r.s.stat("dst/sym").st_mtime == 55);
  CHECK(S_ISFIFO(r.s.stat("dst/fifo").st_mode));
  CHECK(r.s.mode("dst/fifo") == 0640);
  CHECK(r.s.stat("dst/dev").st_rdev == makedev(7, 99));
  CHECK(r.s.read("dst/sparse") == r.s.read("src/sparse"));
  CHECK(r.s.stat("dst/sparse").st_blocks * 512 < (1 << 20));
  CHECK(r.s.mode("dst/d") == 01777);
  CHECK(r.s.stat("dst/d").st_mtim.tv_sec == 99);
  CHECK(r.s.stat("dst/d").st_mtim.tv_nsec == 5);
}

TEST_CASE("a socket is copied as an empty file") {
  Rig r;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = r.s.at("src/sock");
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  r.copy("/sock", "/");
  CHECK(S_ISREG(r.s.stat("dst/sock").st_mode));
  CHECK(r.s.stat("dst/sock").st_size == 0);
  close(fd);
}

TEST_CASE("where a copy goes depends on slashes and on what is there") {
  Rig r;
  r.s.file("src/f", "f");
  r.s.file("src/dir/x", "x");
  r.copy("/f", "/new/");
  CHECK(r.s.read("dst/new/f") == "f");
  r.copy("/f", "/plain");
  CHECK(r.s.read("dst/plain") == "f");
  r.copy("/f", "/new");
  CHECK(r.s.read("dst/new/f") == "f");
  r.copy("/dir", "/there");
  CHECK(r.s.read("dst/there/x") == "x");
  r.copy("/dir", "/there");
  CHECK_FALSE(r.s.exists("dst/there/dir"));
  auto itself = r.action("/dir", "/there");
  itself.options.dir_contents = false;
  r.run(itself);
  CHECK(r.s.read("dst/there/dir/x") == "x");
  r.s.dir("dst/real");
  r.s.link("dst/lnk", "/real");
  r.copy("/f", "/lnk/");
  r.copy("/f", "/lnk/sub/g");
  CHECK(r.s.read("dst/real/f") == "f");
  CHECK(r.s.read("dst/real/sub/g") == "f");
}

TEST_CASE("owner, mode and time of the copy win over the source's") {
  Rig r;
  r.s.file("src/d/f", "f", 0600);
  auto action = r.action("/d", "/a/b");
  action.options.owner = Owner{5, 6};
  action.mode_change = "u=rwX,go=rX";
  action.options.timestamp = 77'000'000'001;
  r.run(action);
  for (const char* path : {"dst/a", "dst/a/b", "dst/a/b/f"}) {
    CAPTURE(path);
    CHECK(r.s.stat(path).st_uid == 5);
    CHECK(r.s.stat(path).st_gid == 6);
    CHECK(r.s.stat(path).st_mtim.tv_sec == 77);
    CHECK(r.s.stat(path).st_mtim.tv_nsec == 1);
  }
  CHECK(r.s.mode("dst/a/b/f") == 0644);
  action = r.action("/d/f", "/m");
  action.options.mode = 04711;
  r.run(action);
  CHECK(r.s.mode("dst/m") == 04711);
  action.mode_change = "u+q";
  CHECK(failure([&] { r.run(action); }) == "invalid syntax");
}

TEST_CASE("what is in the way") {
  Rig r;
  r.s.file("src/t/name", "file");
  r.s.file("src/u/name/inner", "dir");
  r.s.file("dst/keep/other", "stays");
  r.copy("/t", "/");
  CHECK(failure([&] { r.copy("/u", "/"); }) == "cannot copy to non-directory: /name");
  Rig q;
  q.s.file("src/t/name", "file");
  q.s.file("dst/name/inner", "old");
  CHECK(failure([&] { q.copy("/t", "/"); }) == "cannot replace to directory /name with file");
  auto action = q.action("/t", "/");
  action.options.replace_existing = true;
  q.run(action);
  CHECK(q.s.read("dst/name") == "file");
  CHECK(r.s.read("dst/keep/other") == "stays");
  CHECK(failure([&] { r.copy("/t/name", "/name/x"); }) == "mkdir /name: not a directory");
}

TEST_CASE("a symlink in the target tree is replaced, never written through") {
  Scratch outside;
  outside.file("victim", "untouched");
  Rig r;
  r.s.file("src/d/f", "new");
  r.s.dir("dst/d");
  r.s.link("dst/d/f", outside.at("victim"));
  r.copy("/", "/");
  CHECK(outside.read("victim") == "untouched");
  CHECK(r.s.read("dst/d/f") == "new");
  CHECK(S_ISREG(r.s.stat("dst/d/f").st_mode));
}

TEST_CASE("wildcards, missing sources, dangling links") {
  Rig r;
  r.s.file("src/a1", "1");
  r.s.file("src/a2", "2");
  r.s.file("src/sub/a3", "3");
  r.s.link("src/dang", "nowhere");
  r.copy("/a*", "/w/");
  CHECK(r.s.read("dst/w/a1") + r.s.read("dst/w/a2") == "12");
  CHECK_FALSE(r.s.exists("dst/w/a3"));
  r.copy("/*/a?", "/x/");
  CHECK(r.s.read("dst/x/a3") == "3");
  CHECK_NOTHROW(r.copy("/none*", "/y/"));
  CHECK_FALSE(r.s.exists("dst/y"));
  auto strict = r.action("/none*", "/y/");
  strict.allow_empty_wildcard = false;
  CHECK(failure([&] { r.run(strict); }) == "/none* not found");
  CHECK(failure([&] { r.copy("/missing", "/"); }) == "lstat /missing: no such file or directory");
  CHECK(failure([&] { r.copy("/dang", "/"); }) == "lstat /nowhere: no such file or directory");
  auto kept = r.action("/dang", "/");
  kept.options.follow_links = false;
  r.run(kept);
  CHECK(r.s.target("dst/dang") == "nowhere");
  auto bare = r.action("/a1", "/no/such/dir");
  bare.create_dest_path = false;
  CHECK(failure([&] { r.run(bare); }) == "failed to stat /no/such/dir: lstat /no/such: no such file or directory");
}

TEST_CASE("include and exclude patterns make only the directories they need") {
  Rig r;
  r.s.file("src/p/q/keep.txt", "k");
  r.s.file("src/p/q/drop.md", "d");
  r.s.file("src/p/r/drop.md", "d");
  chmod(r.s.at("src/p").c_str(), 0750);
  lchown(r.s.at("src/p").c_str(), 3, 4);
  auto action = r.action("/", "/out/");
  action.options.include = {"p/*/*.txt"};
  r.run(action);
  CHECK(r.s.read("dst/out/p/q/keep.txt") == "k");
  CHECK_FALSE(r.s.exists("dst/out/p/q/drop.md"));
  CHECK_FALSE(r.s.exists("dst/out/p/r"));
  CHECK(r.s.mode("dst/out/p") == 0750);
  CHECK(r.s.stat("dst/out/p").st_uid == 3);
  auto without = r.action("/p", "/ex/");
  without.options.exclude = {"**/*.md"};
  r.run(without);
  CHECK(r.s.exists("dst/ex/q/keep.txt"));
  CHECK(r.s.exists("dst/ex/r"));
  CHECK_FALSE(r.s.exists("dst/ex/r/drop.md"));
  auto required = r.action("/", "/z/");
  required.options.include = {"absent"};
  required.required = {"/absent"};
  CHECK(failure([&] { r.run(required); }) == "\"/absent\": not found");
}

TEST_CASE("many files at once arrive whole") {
  Rig r;
  for (int i = 0; i < 600; i++) r.s.file("src/d" + std::to_string(i % 7) + "/f" + std::to_string(i), std::string(i * 37, 'a' + i % 26));
  r.copy("/", "/");
  for (int i = 0; i < 600; i++) {
    const std::string path = "/d" + std::to_string(i % 7) + "/f" + std::to_string(i);
    REQUIRE(r.s.read("dst" + path) == std::string(i * 37, 'a' + i % 26));
  }
}

TEST_CASE("a source that changed since it was looked at is not copied silently") {
  Rig r;
  r.s.file("src/f", "before");
  auto action = r.action("/", "/");
  action.source->children(action.source->root());
  r.s.file("src/f", "after!!");
  CHECK(failure([&] { r.run(action); }) == "failed to copy files: file \"f\" changed during the build");
}

TEST_CASE("a full disk says which file it was") {
  Rig r;
  r.s.file("src/d/f", std::string(1 << 20, 'x'));
  REQUIRE(mount("tmpfs", r.s.at("dst").c_str(), "tmpfs", 0, "size=64k") == 0);
  const std::string message = failure([&] { r.copy("/", "/"); });
  umount(r.s.at("dst").c_str());
  CHECK(message == "failed to copy files: write /d/f: no space left on device");
}

TEST_CASE("a cancelled copy, a missing target") {
  Rig r;
  r.s.file("src/f", std::string(1 << 20, 'x'));
  auto task = files_test::task();
  task->cancelled = true;
  CHECK(failure([&] { run_file_actions(r.s.at("dst"), {r.action("/", "/")}, task); }) == "context canceled");
  CHECK(failure([&] { run_file_actions(r.s.at("none"), {r.action("/", "/")}, files_test::task()); }) ==
        "open " + r.s.at("none") + ": no such file or directory");
}

TEST_CASE("mkdir, mkfile, symlink, rm") {
  Rig r;
  r.s.dir("dst/real");
  r.s.link("dst/lnk", "real");
  r.run(MkdirAction{"/lnk/a/b", 0711, true, Owner{1, 2}, 9'000'000'000});
  CHECK(r.s.mode("dst/real/a/b") == 0711);
  CHECK(r.s.mode("dst/real/a") == 0711);
  CHECK(r.s.stat("dst/real/a/b").st_uid == 1);
  CHECK(r.s.stat("dst/real/a/b").st_mtime == 9);
  CHECK(failure([&] { r.run(MkdirAction{"/none/x", 0755, false, {}, {}}); }) == "mkdir /none/x: no such file or directory");
  CHECK_NOTHROW(r.run(MkdirAction{"/real", 0755, false, {}, {}}));
  CHECK_NOTHROW(r.run(MkdirAction{"/", 0755, true, {}, {}}));
  r.run(MkfileAction{"/lnk/f", 0640, "data", Owner{3, 4}, {}});
  CHECK(r.s.read("dst/real/f") == "data");
  CHECK(r.s.mode("dst/real/f") == 0640);
  r.run(MkfileAction{"/real/f", 0600, "x", {}, {}});
  CHECK(r.s.read("dst/real/f") == "x");
  CHECK(r.s.mode("dst/real/f") == 0640);
  CHECK(failure([&] { r.run(MkfileAction{"/real", 0600, "x", {}, {}}); }) == "open /real: is a directory");
  CHECK(failure([&] { r.run(MkdirAction{"/real/f/x", 0755, true, {}, {}}); }) == "lstat /real/f/x: not a directory");
  r.run(SymlinkAction{"../target", "/real/s", Owner{5, 5}, {}});
  CHECK(r.s.target("dst/real/s") == "../target");
  CHECK(r.s.stat("dst/real/s").st_uid == 5);
  CHECK(failure([&] { r.run(SymlinkAction{"t", "/real/f", {}, {}}); }) == "symlink t /real/f: file exists");
  r.run(RmAction{"/real/s", false, false});
  CHECK_FALSE(r.s.exists("dst/real/s"));
  CHECK(failure([&] { r.run(RmAction{"/real/s", false, false}); }) == "stat /real/s: no such file or directory");
  CHECK_NOTHROW(r.run(RmAction{"/real/s", true, false}));
  CHECK_NOTHROW(r.run(RmAction{"/gone/deep/er", true, false}));
  CHECK(failure([&] { r.run(RmAction{"/", true, false}); }) == "rmPath: invalid empty path");
  r.run(RmAction{"/lnk", false, false});
  CHECK(r.s.exists("dst/real/f"));
  r.run(RmAction{"/rea*", false, true});
  CHECK_FALSE(r.s.exists("dst/real"));
}

// Roots nothing leaves, filtered views, and what their checksums depend on.
#include <doctest/doctest.h>

#include <sys/sysmacros.h>

#include <thread>

#include "files/checksum.h"
#include "files/root_ops.h"
#include "files_support.h"

using namespace obd::files;
using files_test::failure;
using files_test::Scratch;

namespace {

std::vector<std::string> names(Tree& tree, Node& dir) {
  std::vector<std::string> out;
  for (Node* node : tree.children(dir)) {
    out.push_back(tree.path(*node));
    if (!node->is_dir()) continue;
    for (auto& below : names(tree, *node)) out.push_back(below);
  }
  return out;
}

std::vector<std::string> view(const Scratch& s, std::vector<std::string> exclude, std::vector<std::string> include = {},
                              std::vector<std::string> follow = {}) {
  TreeOptions options;
  options.root = s.path();
  options.exclude = std::move(exclude);
  options.include = std::move(include);
  options.follow = std::move(follow);
  Tree tree(options);
  return names(tree, tree.root());
}

std::string sum(const Scratch& s, const Selection& selection = {}, const TreeOptions& base = {}) {
  TreeOptions options = base;
  options.root = s.path();
  Tree tree(options);
  Task task;
  return checksum(tree, {selection}, task)[0];
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a root is not left by dots, absolute links or link chains") {
  Scratch outside, s;
  outside.file("secret", "outside");
  s.dir("root");
  s.file("secret", "beside");
  s.file("root/etc/in", "inside");
  s.link("root/abs", outside.at("secret"));
  s.link("root/up", "../../../../../../etc/in");
  s.link("root/dots", "../secret");
  s.link("root/a", "b");
  s.link("root/b", "a");
  const Root root(s.at("root"));
  CHECK(read_file(root, "/up", 0, 100, 100) == "inside");
  CHECK(read_file(root, "../../etc/in", 0, 100, 100) == "inside");
  CHECK(failure([&] { read_file(root, "/abs", 0, 9, 9); }) == "open /abs: no such file or directory");
  CHECK(failure([&] { read_file(root, "/dots", 0, 9, 9); }) == "open /dots: no such file or directory");
  CHECK(failure([&] { read_file(root, "/a", 0, 9, 9); }) == "open /a: too many levels of symbolic links");
  CHECK(root.resolve("/dots/x") == "/secret/x");
  CHECK(root.resolve("/abs") == outside.at("secret"));
  CHECK(root.resolve("/abs", false) == "/abs");
  CHECK(failure([&] { root.resolve("/a"); }) == "too many links");
  CHECK(failure([&] { root.resolve("/etc/in/x"); }) == "lstat /etc/in/x: not a directory");
}

TEST_CASE("reading files of a root refuses what is no file and what is too big") {
  Scratch s;
  s.dir("d");
  s.file("f", "0123456789");
  mkfifo(s.at("p").c_str(), 0644);
  const Root root(s.path());
  CHECK(read_file(root, "f", 3, 4, 100) == "3456");
  CHECK(read_file(root, "f", 20, 4, 100) == "");
  CHECK(failure([&] { read_file(root, "f", 0, 100, 9); }) == "file f is larger than 9 bytes");
  CHECK(failure([&] { read_file(root, "d", 0, 9, 9); }) == "d is not a regular file");
  CHECK(failure([&] { read_file(root, "p", 0, 9, 9); }) == "p is not a regular file");
}

TEST_CASE("mount points are made, and taken away as far as they stay empty") {
  Scratch s;
  s.dir("etc");
  s.file("etc/hosts", "x");
  s.set_mtime("etc", 1000);
  s.link("lnk", "etc");
  const Root root(s.path());
  auto made = ensure_mountpoint(root, "/lnk/a/b/file", false);
  CHECK(made == Names{"/etc/a", "/etc/a/b", "/etc/a/b/file"});
  CHECK(S_ISREG(s.stat("etc/a/b/file").st_mode));
  CHECK(s.stat("etc").st_mtime == 1000);
  CHECK(ensure_mountpoint(root, "/etc/hosts", false).empty());
  CHECK(failure([&] { ensure_mountpoint(root, "/etc/hosts", true); }) == "mount target /etc/hosts is not a directory");
  CHECK(failure([&] { ensure_mountpoint(root, "/etc", false); }) == "mount target /etc is a directory");
  s.file("etc/a/kept", "by the container");
  remove_created(root, made);
  CHECK_FALSE(s.exists("etc/a/b"));
  CHECK(s.read("etc/a/kept") == "by the container");
  CHECK(s.stat("etc").st_mtime == 1000);
}

TEST_CASE("views show what the patterns leave") {
  Scratch s;
  for (const char* f : {"a.go", "b.md", "README.md", "src/x.go", "src/deep/y.go", "node_modules/m/i.js", "vendor/keep/k"}) s.file(f, f);
  s.dir("empty");
  CHECK(view(s, {"*.md", "!README.md", "node_modules", "vendor", "!vendor/keep"}) ==
        Names{"README.md", "a.go", "empty", "src", "src/deep", "src/deep/y.go", "src/x.go", "vendor", "vendor/keep", "vendor/keep/k"});
  CHECK(view(s, {"**", "!**/y.go"}) == Names{"src", "src/deep", "src/deep/y.go"});
  CHECK(view(s, {}, {"src/deep", "*.go"}) == Names{"a.go", "src", "src/deep", "src/deep/y.go"});
  CHECK(view(s, {"*"}) == Names{});
  CHECK(failure([&] { view(s, {"!"}); }) == "invalid excludepatterns: [!]: illegal exclusion pattern: \"!\"");
}

TEST_CASE("followed paths bring what their symlinks lead to") {
  Scratch s;
  s.file("real/f", "f");
  s.file("real/other", "o");
  s.file("unrelated", "u");
  s.link("link", "real/f");
  s.link("dirlink", "/real");
  s.link("dangling", "nowhere/at/all");
  s.link("loop", "loop");
  CHECK(view(s, {}, {}, {"link"}) == Names{"link", "real", "real/f"});
  CHECK(view(s, {}, {}, {"dirlink/other"}) == Names{"dirlink", "real", "real/other"});
  CHECK(view(s, {}, {}, {"dangling"}) == Names{"dangling"});
  CHECK(view(s, {}, {}, {"loop"}) == Names{"loop"});
  CHECK(view(s, {}, {}, {"li*"}) == Names{"link", "real", "real/f"});
  CHECK(view(s, {}, {}, {"/"}).size() == 8);
  CHECK(view(s, {"real"}, {}, {"link"}) == Names{"link"});
}

TEST_CASE("checksums change with what a copy would bring, and with nothing else") {
  Scratch s;
  s.file("d/f", "content");
  s.file("other", "x");
  s.link("l", "d/f");
  const Selection all, dir{"/d", false, false, {}, {}, {}};
  const std::string whole = sum(s), only_dir = sum(s, dir);
  CHECK(whole.substr(0, 7) == "sha256:");
  CHECK(whole.size() == 71);

  auto changes = [&](const Selection& selection, auto&& change) {
    const std::string before = sum(s, selection);
    change();
    return sum(s, selection) != before;
  };
  CHECK_FALSE(changes(all, [&] { s.set_mtime("d/f", 5); s.set_mtime("d", 6); }));
  CHECK_FALSE(changes(dir, [&] { s.file("other", "y"); }));
  CHECK(changes(all, [&] { s.file("other", "z"); }));
  CHECK(changes(dir, [&] { s.file("d/f", "CONTENT"); }));
  CHECK(changes(dir, [&] { chmod(s.at("d/f").c_str(), 0600); }));
  CHECK(changes(dir, [&] { chmod(s.at("d").c_str(), 0700); }));
  CHECK(changes(dir, [&] { lchown(s.at("d/f").c_str(), 7, 8); }));
  CHECK(changes(dir, [&] { lsetxattr(s.at("d/f").c_str(), "user.k", "v", 1, 0); }));
  CHECK(changes(dir, [&] { lsetxattr(s.at("d/f").c_str(), "security.capability", files_test::kCapability.data(), 20, 0); }));
  CHECK(changes(dir, [&] { s.file("d/new", ""); }));
  CHECK(changes(dir, [&] { rename(s.at("d/new").c_str(), s.at("d/renamed").c_str()); }));
  CHECK(changes(dir, [&] { mknod(s.at("d/dev").c_str(), S_IFCHR | 0600, makedev(1, 3)); }));
  CHECK(changes(dir, [&] { unlink(s.at("d/dev").c_str()); mknod(s.at("d/dev").c_str(), S_IFCHR | 0600, makedev(1, 5)); }));
  CHECK(changes(all, [&] { unlink(s.at("l").c_str()); s.link("l", "other"); }));

  TreeOptions reset;
  reset.reset_owner = true;
  const std::string owned = sum(s, all, reset);
  lchown(s.at("other").c_str(), 1, 1);
  CHECK(sum(s, all, reset) == owned);
}

TEST_CASE("selections: links, wildcards, patterns, required paths") {
  Scratch s;
  s.file("d/a.txt", "a");
  s.file("d/b.txt", "b");
  s.file("d/sub/c.txt", "c");
  s.link("to-d", "d");
  s.link("bad", "nowhere");
  auto plain = [&](const char* path, bool follow = false) { return sum(s, {path, false, follow, {}, {}, {}}); };
  CHECK(plain("/to-d", true) == plain("/d"));
  CHECK(plain("/to-d") != plain("/d"));
  CHECK(plain("/to-d/a.txt") == plain("/d/a.txt"));
  CHECK(failure([&] { plain("/bad", true); }) == "\"/bad\": not found");
  CHECK(failure([&] { plain("/d/missing"); }) == "\"/d/missing\": not found");

  const std::string txt = sum(s, {"/d/*.txt", true, true, {}, {}, {}});
  s.file("d/sub/c.txt", "changed");
  CHECK(sum(s, {"/d/*.txt", true, true, {}, {}, {}}) == txt);
  s.file("d/b.txt", "changed");
  CHECK(sum(s, {"/d/*.txt", true, true, {}, {}, {}}) != txt);
  CHECK(sum(s, {"/no*", true, true, {}, {}, {}}) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sum(s, {"/*", true, true, {"d/a.txt"}, {}, {}}) != txt);

  const std::string without = sum(s, {"/d", false, true, {}, {"sub"}, {}});
  s.file("d/sub/c.txt", "once more");
  CHECK(sum(s, {"/d", false, true, {}, {"sub"}, {}}) == without);
  CHECK(failure([&] { sum(s, {"/", false, true, {"x"}, {}, {"/x"}}); }) == "\"/x\": not found");
  CHECK(failure([&] { sum(s, {"/", false, true, {"d/a.txt"}, {}, {"/d/a.txt"}}); }) == "");
}

TEST_CASE("the stat cache answers for files that did not change, and only for them") {
  Scratch s;
  s.file("ctx/a", "one");
  s.file("ctx/b", "two");
  TreeOptions options;
  options.root = s.at("ctx");
  options.stat_cache = s.dir("caches") + "/mine";
  s.file("caches/foreign", "not a cache of ours");
  s.set_mtime("caches/foreign", 1000);
  auto read_bytes = [&](std::string& digest) {
    Tree tree(options);
    Task task;
    digest = checksum(tree, {{}}, task)[0];
    return task.bytes.load();
  };
  std::string first, second;
  CHECK(read_bytes(first) == 6);
  CHECK(read_bytes(second) == 6);  // changed moments ago: not trusted yet
  CHECK(first == second);
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  CHECK(read_bytes(second) == 6);
  CHECK(read_bytes(second) == 0);
  CHECK(first == second);

  // The same size and mtime again: only the ctime tells.
  const timespec old = s.stat("ctx/a").st_mtim;
  s.file("ctx/a", "ONE");
  s.set_mtime("ctx/a", old.tv_sec, old.tv_nsec);
  CHECK(read_bytes(second) == 3);
  CHECK(first != second);

  // A damaged cache file is no cache.
  {
    std::fstream file(s.at("caches/mine"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(40);
    file.put('\x7f');
  }
  // One of another root, long unused, goes; what is no cache stays.
  s.file("caches/old", s.read("caches/mine"));
  s.set_mtime("caches/old", 1000);
  std::string third;
  CHECK(read_bytes(third) == 6);
  CHECK(third == second);
  CHECK_FALSE(s.exists("caches/mine.tmp"));
  CHECK_FALSE(s.exists("caches/old"));
  CHECK(s.exists("caches/foreign"));
}

TEST_CASE("a file that changes behind the tree's back is noticed") {
  Scratch s;
  s.file("f", "before");
  auto tree = files_test::tree(s.path());
  Node* node = tree->resolve("/f", false);
  s.file("f", "after, and longer");
  CHECK(failure([&] { tree->open_file(*node); }) == "file \"f\" changed during the build");
  unlink(s.at("f").c_str());
  CHECK(failure([&] { tree->open_file(*node); }) == "file \"f\" changed during the build");
}

TEST_CASE("hashing stops when cancelled") {
  Scratch s;
  s.file("f", std::string(1 << 20, 'x'));
  auto tree = files_test::tree(s.path());
  Task task;
  task.cancelled = true;
  CHECK(failure([&] { checksum(*tree, {{}}, task); }) == "context canceled");
}

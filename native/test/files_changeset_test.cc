// Changesets between trees: what is in them, and that unpacking them over the lower tree gives the upper one.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "files/tar_pipeline.h"
#include "files/tree_tar.h"
#include "files_support.h"

using namespace obd::files;
using files_test::failure;
using files_test::Scratch;

namespace {

struct Layer {
  BlobResult result;
  std::vector<TarEntry> entries;
  std::vector<std::string> names;
};

// What write_exact_changes gives, read back: names with their times.
std::map<std::string, TarEntry> exact_changes(const Scratch& s, const std::string& lower, const std::string& upper) {
  auto below = files_test::tree(s.at(lower)), above = files_test::tree(s.at(upper));
  Task task;
  Fd fd(::open(s.at("t").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644));
  BlobWriter writer(fd.get(), "t", Compression::none, INT_MIN, task);
  write_exact_changes(*below, *above, writer, task);
  writer.finish();
  lseek(fd.get(), 0, SEEK_SET);
  FileSource file(fd.get(), "t");
  TarReader reader(file);
  std::map<std::string, TarEntry> out;
  for (TarEntry e; reader.next(e);) out[e.name] = e;
  return out;
}

// The changeset from lower ("" = none) to upper, written to `t` and read back.
Layer changeset(const Scratch& s, const std::string& lower, const std::string& upper,
                Compression compression = Compression::none, std::optional<int64_t> epoch = {}) {
  auto below = lower.empty() ? nullptr : files_test::tree(s.at(lower));
  auto above = files_test::tree(s.at(upper));
  Layer out;
  Task task;
  Fd fd(::open(s.at("t").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644));
  BlobWriter writer(fd.get(), "t", compression, INT_MIN, task);
  write_changeset(below.get(), *above, writer, epoch, task);
  out.result = writer.finish();
  if (compression != Compression::none) return out;
  lseek(fd.get(), 0, SEEK_SET);
  FileSource file(fd.get(), "t");
  TarReader reader(file);
  TarEntry e;
  while (reader.next(e)) {
    out.entries.push_back(e);
    out.names.push_back(e.name);
  }
  return out;
}

void copy_tree(const Scratch& s, const std::string& from, const std::string& to) {
  REQUIRE(system(("cp -a " + s.at(from) + " " + s.at(to)).c_str()) == 0);
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a changeset lists changes with their directories, and whiteouts") {
  Scratch s;
  s.file("lower/same/f", "same");
  s.file("lower/d/changed", "before");
  s.file("lower/d/gone", "x");
  s.file("lower/d/gonedir/inner", "x");
  s.file("lower/tofile/inner", "x");
  s.file("lower/todir", "x");
  copy_tree(s, "lower", "upper");
  s.file("upper/d/changed", "after");
  unlink(s.at("upper/d/gone").c_str());
  std::filesystem::remove_all(s.at("upper/d/gonedir"));
  std::filesystem::remove_all(s.at("upper/tofile"));
  s.file("upper/tofile", "now a file");
  unlink(s.at("upper/todir").c_str());
  s.file("upper/todir/inner", "now a directory");
  s.file("upper/d/new/deep/f", "n");
  const Layer layer = changeset(s, "lower", "upper");
  CHECK(layer.names == Names{"d/", "d/changed", "d/.wh.gone", "d/.wh.gonedir", "d/new/", "d/new/deep/", "d/new/deep/f",
                             "todir/", "todir/inner", "tofile"});
  for (const auto& e : layer.entries) {
    if (e.name.find(".wh.") == std::string::npos) continue;
    CHECK(e.size == 0);
    CHECK(e.mtime == 0);
    CHECK(e.mode == 0);
  }
  // Over the lower tree it gives the upper one.
  Fd fd(::open(s.at("t").c_str(), O_RDONLY));
  unpack_file(fd.get(), "t", s.at("lower"), {}, files_test::task());
  CHECK(changeset(s, "lower", "upper").names == Names{});
  CHECK(changeset(s, "upper", "lower").names == Names{});
}

TEST_CASE("metadata changes are changes; times of directories are not") {
  Scratch s;
  for (const char* f : {"a", "b", "c", "d", "e/x"}) s.file(std::string("lower/") + f, "x");
  copy_tree(s, "lower", "upper");
  chmod(s.at("upper/a").c_str(), 0600);
  lchown(s.at("upper/b").c_str(), 5, 5);
  s.set_mtime("upper/c", 77);
  lsetxattr(s.at("upper/d").c_str(), "security.capability", files_test::kCapability.data(), 20, 0);
  s.set_mtime("upper/e", 78);
  const Layer layer = changeset(s, "lower", "upper");
  CHECK(layer.names == Names{"a", "b", "c", "d"});
  CHECK(layer.entries[3].xattrs == std::vector<std::pair<std::string, std::string>>{{"security.capability", files_test::kCapability}});
}

TEST_CASE("content decides when all else is equal") {
  Scratch s;
  s.file("lower/f", "aaaa");
  s.file("lower/g", "gggg");
  copy_tree(s, "lower", "upper");
  const timespec time = s.stat("lower/f").st_mtim;
  s.file("upper/f", "bbbb");
  s.set_mtime("upper/f", time.tv_sec, time.tv_nsec);
  CHECK(changeset(s, "lower", "upper").names == Names{"f"});
}

TEST_CASE("hard links stay together, also with names the lower tree had") {
  Scratch s;
  s.file("lower/b", "x");
  s.file("lower/z", "z");
  copy_tree(s, "lower", "upper");
  link(s.at("upper/b").c_str(), s.at("upper/a").c_str());
  link(s.at("upper/b").c_str(), s.at("upper/c").c_str());
  link(s.at("upper/z").c_str(), s.at("upper/zz").c_str());
  const Layer layer = changeset(s, "lower", "upper");
  CHECK(layer.names == Names{"a", "b", "c", "zz", "z"});
  CHECK(layer.entries[0].type == '0');
  CHECK(layer.entries[1].link == "a");
  CHECK(layer.entries[2].link == "a");
  CHECK(layer.entries[4].link == "zz");
}

TEST_CASE("exact changes have times and xattrs whole, and no name of a file that did not change") {
  Scratch s;
  s.file("lower/old", "x");
  s.file("lower/two", "t");
  link(s.at("lower/two").c_str(), s.at("lower/two2").c_str());
  copy_tree(s, "lower", "upper");
  link(s.at("upper/old").c_str(), s.at("upper/new").c_str());
  s.file("upper/f", "f");
  lsetxattr(s.at("upper/f").c_str(), "user.k", "v", 1, 0);
  s.set_mtime("upper/f", 77, 123456789);
  unlink(s.at("upper/two2").c_str());
  const auto changes = exact_changes(s, "lower", "upper");
  REQUIRE(changes.size() == 3);
  CHECK(changes.at("f").mtime == 77'123456789);
  CHECK(changes.at("f").xattrs == std::vector<std::pair<std::string, std::string>>{{"user.k", "v"}});
  CHECK(changes.at("new").type == '0');
  CHECK(changes.count(".wh.two2") == 1);
}

TEST_CASE("a first layer holds everything but sockets and lost+found") {
  Scratch s;
  s.file("upper/d/f", "f");
  s.link("upper/l", "d/f");
  mkfifo(s.at("upper/p").c_str(), 0644);
  lsetxattr(s.at("upper/d/f").c_str(), "user.note", "n", 1, 0);
  Layer layer = changeset(s, "", "upper");
  CHECK(layer.names == Names{"d/", "d/f", "l", "p"});
  CHECK(layer.entries[1].xattrs.empty());
  CHECK(layer.entries[2].link == "d/f");

  s.dir("upper/lost+found");
  TreeOptions options;
  options.root = s.at("upper");
  options.skip_lost_found = true;
  Tree tree(options);
  CHECK(tree.child(tree.root(), "lost+found") == nullptr);
}

TEST_CASE("an epoch bounds the times") {
  Scratch s;
  s.file("upper/new", "n");
  s.file("upper/old", "o");
  s.set_mtime("upper/new", 2000, 5);
  s.set_mtime("upper/old", 500, 999999999);
  const Layer layer = changeset(s, "", "upper", Compression::none, 1000);
  CHECK(layer.entries[0].mtime == 1000'000'000'000);
  CHECK(layer.entries[1].mtime == 500'000'000'000);
}

TEST_CASE("compressed layers are the same tar, and the same bytes every time") {
  Scratch s;
  std::string noise;
  for (uint64_t i = 0; i < 300000; i++) noise += std::to_string(i * 7919 % 10007);
  s.file("upper/f", noise);
  const Layer plain = changeset(s, "", "upper");
  CHECK(plain.result.digest == plain.result.diff_id);
  for (Compression kind : {Compression::gzip, Compression::zstd}) {
    const Layer one = changeset(s, "", "upper", kind);
    CHECK(one.result.diff_id == plain.result.diff_id);
    CHECK(one.result.size < plain.result.size / 2);
    CHECK(one.result.size == s.read("t").size());
    CHECK(changeset(s, "", "upper", kind).result.digest == one.result.digest);
    if (kind == Compression::gzip) CHECK(system(("gzip -t < " + s.at("t")).c_str()) == 0);
    s.dir("out");
    Fd fd(::open(s.at("t").c_str(), O_RDONLY));
    const UnpackResult unpacked = unpack_file(fd.get(), "t", s.at("out"), {}, files_test::task());
    CHECK(unpacked.digest == one.result.digest);
    CHECK(unpacked.diff_id == plain.result.diff_id);
    CHECK(s.read("out/f") == noise);
  }
}

TEST_CASE("an empty changeset is a valid archive") {
  Scratch s;
  s.file("lower/f", "f");
  copy_tree(s, "lower", "upper");
  for (Compression kind : {Compression::none, Compression::gzip, Compression::zstd}) {
    changeset(s, "lower", "upper", kind);
    Fd fd(::open(s.at("t").c_str(), O_RDONLY));
    CHECK(unpack_file(fd.get(), "t", s.dir("out"), {}, files_test::task()).entries == 0);
  }
}

TEST_CASE("a root tar holds all xattrs, rounds times and links what is linked") {
  Scratch s;
  s.file("root/a", "x");
  link(s.at("root/a").c_str(), s.at("root/b").c_str());
  lsetxattr(s.at("root/a").c_str(), "user.note", "n", 1, 0);
  s.set_mtime("root/a", 10, 600000000);
  Task task;
  Fd fd(::open(s.at("t").c_str(), O_RDWR | O_CREAT, 0644));
  BlobWriter writer(fd.get(), "t", Compression::none, 0, task);
  write_root_tar(*files_test::tree(s.at("root")), writer, {}, task);
  writer.finish();
  lseek(fd.get(), 0, SEEK_SET);
  FileSource file(fd.get(), "t");
  TarReader reader(file);
  TarEntry a, b;
  REQUIRE(reader.next(a));
  REQUIRE(reader.next(b));
  CHECK(a.xattrs == std::vector<std::pair<std::string, std::string>>{{"user.note", "n"}});
  CHECK(a.mtime == 11'000'000'000);
  CHECK(b.type == '1');
  CHECK(b.link == "a");
}

TEST_CASE("a blob that cannot be written fails with its name") {
  Scratch s;
  s.file("upper/f", std::string(1 << 20, 'x'));
  auto above = files_test::tree(s.at("upper"));
  Task task;
  CHECK(failure([&] {
          Fd full(::open("/dev/full", O_WRONLY));
          BlobWriter writer(full.get(), "layer", Compression::none, 0, task);
          write_changeset(nullptr, *above, writer, {}, task);
          writer.finish();
        }) == "write layer: no space left on device");
}
